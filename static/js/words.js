// Numbers and times as people say them.

window.Nostrclient = {}

Nostrclient.words = {
  // "3 minutes": a time in its largest unit.
  duration(seconds) {
    const whole = Math.max(0, Math.round(seconds))
    for (const [unit, length] of [
      ['day', 86400],
      ['hour', 3600],
      ['minute', 60]
    ]) {
      if (whole >= length) return this.counted(Math.floor(whole / length), unit)
    }
    return this.counted(whole, 'second')
  },

  // "1 event", "2,000 events".
  counted(count, noun) {
    return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
  },

  // Fits into a table: 12,345 or 1.2M.
  number(value) {
    const options = {notation: 'compact', maximumFractionDigits: 1}
    return value.toLocaleString('en', value < 100_000 ? {} : options)
  },

  // Events per second.
  rate(value) {
    return value >= 10 ? this.number(Math.round(value)) : value.toFixed(1)
  },

  // Begins with a capital letter.
  sentence(text) {
    return text.charAt(0).toUpperCase() + text.slice(1)
  },

  // A key or an event's id, as much as one can recognise.
  shortened(hex) {
    return hex ? `${hex.slice(0, 8)}…${hex.slice(-4)}` : ''
  }
}
