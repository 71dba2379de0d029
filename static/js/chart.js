// Events per second over the last five minutes.

window.app.component('nostrclient-chart', {
  template: '#nostrclient-chart',
  data() {
    return {
      store: Nostrclient.store,
      words: Nostrclient.words,
      STEP: 5, // seconds that make one point
      POINTS: 60,
      /** @type {import('chart.js').Chart<'line'> | null} */
      chart: null
    }
  },
  computed: {
    series() {
      const read = (/** @type {string} */ name) =>
        getComputedStyle(document.body).getPropertyValue(`--q-${name}`).trim()
      return [
        {field: 1, label: 'from relays', color: read('primary')},
        // Often the same as what came: both have to be seen.
        {field: 2, label: 'to clients', color: read('positive'), dash: [4, 4]},
        {field: 3, label: 'published', color: read('warning')}
      ]
    },
    // For those who cannot see it.
    inWords() {
      const sums = this.series.map(({field, label}) => {
        const all = this.store.history.reduce((sum, row) => sum + row[field], 0)
        return `${this.words.number(all)} ${label}`
      })
      return `Events in the last five minutes: ${sums.join(', ')}.`
    }
  },
  mounted() {
    this.draw()
    this.$watch('store.now', () => this.update())
    this.$watch('$q.dark.isActive', () => this.draw())
  },
  unmounted() {
    this.chart?.destroy()
  },
  methods: {
    points() {
      const {STEP, POINTS} = this
      const last = Math.floor(this.store.now / STEP)
      // The running step is not full yet: divided by all of it, it would always look
      // like a fall.
      const passed = Math.max(1, this.store.now - last * STEP)
      const points = this.series.map(() => Array(POINTS).fill(0))
      for (const row of this.store.history) {
        const at = Math.floor(row[0] / STEP) - last + POINTS - 1
        if (at < 0 || at >= POINTS) continue
        const seconds = at === POINTS - 1 ? passed : STEP
        this.series.forEach(({field}, index) => {
          points[index][at] += row[field] / seconds
        })
      }
      return points
    },
    update() {
      const {chart} = this
      if (!chart) return
      this.points().forEach((data, index) => {
        chart.data.datasets[index].data = data
      })
      chart.update('none')
    },
    draw() {
      this.chart?.destroy()
      const ink = getComputedStyle(this.$el).color
      const canvas = /** @type {HTMLCanvasElement} */ (this.$refs.canvas)
      const faint = 'rgba(128, 128, 128, 0.25)'
      const points = this.points()
      this.chart = Vue.markRaw(
        new Chart(canvas, {
          type: 'line',
          data: {
            labels: Array.from({length: this.POINTS}, (_, at) =>
              this.words.duration((this.POINTS - at - 1) * this.STEP)
            ),
            datasets: this.series.map(({label, color, dash}, index) => ({
              label,
              order: this.series.length - index, // the last one on top
              borderDash: dash,
              data: points[index],
              borderColor: color,
              backgroundColor: color,
              borderWidth: 2,
              pointRadius: 0,
              tension: 0.2
            }))
          },
          options: {
            animation: false,
            maintainAspectRatio: false,
            interaction: {mode: 'index', intersect: false},
            scales: {
              x: {display: false},
              y: {
                beginAtZero: true,
                suggestedMax: 1,
                border: {display: false},
                grid: {color: faint},
                ticks: {color: ink, maxTicksLimit: 4, precision: 0}
              }
            },
            plugins: {
              legend: {
                position: 'bottom',
                labels: {color: ink, boxWidth: 10, boxHeight: 2, padding: 8}
              },
              tooltip: {
                callbacks: {
                  title: ([item]) => `${item.label} ago`,
                  label: ({dataset, raw}) =>
                    `${this.words.rate(Number(raw))} a second ${dataset.label}`
                }
              }
            }
          }
        })
      )
    }
  }
})
