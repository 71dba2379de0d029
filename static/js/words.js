// Numbers and times as people say them.

window.Nostrclient = /** @type {NostrclientPage} */ ({}) // parts follow

Nostrclient.words = (() => {
  /** @type {[unit: string, seconds: number][]} */
  const UNITS = [
    ['day', 86400],
    ['hour', 3600],
    ['minute', 60]
  ]

  /**
   * "1 event", "2,000 events".
   * @param {number} count
   * @param {string} noun
   */
  function counted(count, noun) {
    return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
  }

  /**
   * "3 minutes": a time in its largest unit.
   * @param {number} seconds
   */
  function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds))
    for (const [unit, length] of UNITS) {
      if (whole >= length) return counted(Math.floor(whole / length), unit)
    }
    return counted(whole, 'second')
  }

  /**
   * Fits into a table: 12,345 or 1.2M.
   * @param {number} value
   */
  function number(value) {
    /** @type {Intl.NumberFormatOptions} */
    const options = {notation: 'compact', maximumFractionDigits: 1}
    return value.toLocaleString('en', value < 100_000 ? {} : options)
  }

  /**
   * Events per second.
   * @param {number} value
   */
  function rate(value) {
    return value >= 10 ? number(Math.round(value)) : value.toFixed(1)
  }

  /**
   * Begins with a capital letter.
   * @param {string} text
   */
  function sentence(text) {
    return text.charAt(0).toUpperCase() + text.slice(1)
  }

  /**
   * A key or an event's id, as much as one can recognise.
   * @param {string | null} hex
   */
  function shortened(hex) {
    return hex ? `${hex.slice(0, 8)}…${hex.slice(-4)}` : ''
  }

  return {counted, duration, number, rate, sentence, shortened}
})()
