// A WebSocket of npm's `ws`, moved by JSON lines.
//
//   node socket.mjs URL
//
// Reads {send: text}, {ping: text} and {close: [code, reason]}; prints {open: true}, {text},
// {pong: text} and {closed: code}, with which it ends.

import {createInterface} from 'node:readline'
import WebSocket from 'ws'

const socket = new WebSocket(process.argv[2])

/** @param {object} what */
function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}

socket.on('open', () => say({open: true}))
socket.on('message', data => say({text: String(data)}))
socket.on('pong', data => say({pong: String(data)}))
socket.on('error', error => console.error(error))
socket.on('close', code => {
  say({closed: code})
  process.exitCode = 0
  process.stdin.destroy()
})

for await (const line of createInterface({input: process.stdin})) {
  const {send, ping, close} = JSON.parse(line)
  if (send !== undefined) socket.send(send)
  if (ping !== undefined) socket.ping(ping)
  if (close !== undefined) socket.close(...close)
}
