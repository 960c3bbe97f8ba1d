// Reads CEF or LEEF records (one a line) with nsyslog-parser, writes the keys of each as one JSON object a line.
'use strict'
const parse = require('nsyslog-parser')
const leef = process.argv[2] === 'nsyslog-leef'
for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  // It looks for the record behind a syslog header only.
  const entry = parse(`<134>Jan  1 00:00:00 node ${line}`)
  const fields = entry.fields || {}
  const keys = Object.keys(fields).filter(key => leef || !key.startsWith('$')).sort()
  console.log(JSON.stringify(Object.fromEntries(keys.map(key => [key, fields[key]]))))
}
