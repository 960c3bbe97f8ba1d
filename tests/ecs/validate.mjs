// Holds documents against the official ECS field list (npm package @elastic/ecs).
//
//   node validate.mjs FOLDER < documents.jsonl
//
// FOLDER holds node_modules/@elastic/ecs. One JSON line comes out for each document line: {"line":1,"faults":[{"rule","field","why"}]}.
// Exit code 1 when a document has a fault, 2 when the validator itself could not work.

import { createRequire } from 'node:module';
import { isIP } from 'node:net';
import { readFileSync } from 'node:fs';
import path from 'node:path';

const OWN_ROOTS = new Set(['calico']);
// "The field value must be normalized to lowercase", says the schema of each.
const LOWER_CASE = ['network.application', 'network.direction', 'network.protocol', 'network.transport', 'network.type'];
const DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/;
const NAME = /^[a-z][a-z0-9_]*$/;

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const isString = (value) => typeof value === 'string';

/** Does one value fit an ECS type? */
const FITS = {
  keyword: isString,
  constant_keyword: isString,
  wildcard: isString,
  text: isString,
  match_only_text: isString,
  long: Number.isInteger,
  integer: Number.isInteger,
  float: Number.isFinite,
  scaled_float: Number.isFinite,
  boolean: (value) => typeof value === 'boolean',
  ip: (value) => isString(value) && isIP(value) !== 0,
  date: (value) => isString(value) && DATE.test(value) && !Number.isNaN(Date.parse(value)),
  geo_point: isObject,
  object: isObject,
  flattened: isObject,
  nested: isObject,
};

const LEAVES = new Set(['object', 'flattened', 'nested', 'geo_point']);

/** Calls `visit(name, value)` for every leaf; `name` is the full one. */
function walk(value, name, fields, faults, visit) {
  for (const [key, child] of Object.entries(value)) {
    const full = name === '' ? key : `${name}.${key}`;
    const own = OWN_ROOTS.has(full.split('.')[0]);
    if (!own && key.includes('.')) faults.push({ rule: 'dotted-key', field: full, why: 'documents are nested' });
    if (own && !NAME.test(key)) {
      faults.push({ rule: 'name', field: full, why: 'own names are lower case with underscores' });
    }
    const kind = fields[full]?.type;
    if (isObject(child) && !LEAVES.has(kind) && !FREE.has(full)) walk(child, full, fields, faults, visit);
    else visit(full, child, own);
  }
}

// Own flattened fields: what others named.
const FREE = new Set(['calico.source.labels', 'calico.dest.labels', 'calico.extra']);

function checkField(full, value, field, faults) {
  const fault = (rule, why) => faults.push({ rule, field: full, why });
  const listed = (field.normalize ?? []).includes('array');
  if (listed !== Array.isArray(value)) fault(listed ? 'array' : 'scalar', JSON.stringify(value));
  const values = Array.isArray(value) ? value : [value];
  if (values.length === 0) fault('empty', 'an empty list says nothing');
  for (const one of values) {
    if (!FITS[field.type]?.(one)) fault('type', `${JSON.stringify(one)} is no ${field.type}`);
    const allowed = field.allowed_values?.map((entry) => entry.name) ?? field.expected_values;
    if (allowed && !allowed.includes(one)) fault('value', `${JSON.stringify(one)} is none of ${allowed.join(' ')}`);
    if (field.pattern && !new RegExp(field.pattern).test(one)) fault('pattern', `${one} against ${field.pattern}`);
    if (LOWER_CASE.includes(full) && isString(one) && one !== one.toLowerCase()) fault('lower-case', one);
  }
}

/** Rules that need more than one field. */
function checkWhole(at, fields, faults) {
  const fault = (rule, field, why) => faults.push({ rule, field, why });
  const categories = [at.get('event.category') ?? []].flat();
  const types = [at.get('event.type') ?? []].flat();
  const known = new Map((fields['event.category'].allowed_values ?? []).map((v) => [v.name, v.expected_event_types]));
  for (const category of categories) {
    for (const type of types) {
      if (known.get(category) && !known.get(category).includes(type)) fault('category-type', 'event.type', `${type} with ${category}`);
    }
  }
  if (types.includes('protocol') && !at.has('network.protocol')) fault('protocol', 'event.type', 'needs network.protocol');
  for (const required of ['@timestamp', 'ecs.version', 'event.kind']) {
    if (!at.has(required)) fault('required', required, 'missing');
  }
  const dataset = at.get('data_stream.dataset');
  if (dataset !== at.get('event.dataset')) fault('data-stream', 'event.dataset', 'differs from data_stream.dataset');
  for (const name of ['data_stream.dataset', 'data_stream.namespace']) {
    const part = String(at.get(name) ?? '');
    if (part.length > 100 || part.includes('-') || /[\\/*?"<>| ,#:]/.test(part) || part !== part.toLowerCase()) {
      fault('data-stream', name, part);
    }
  }
  const time = (name) => (at.has(name) ? Date.parse(at.get(name)) : undefined);
  const [start, end, duration] = [time('event.start'), time('event.end'), at.get('event.duration')];
  if (start !== undefined && end !== undefined && duration !== undefined && Math.abs((end - start) * 1e6 - duration) > duration * 1e-12) {
    fault('duration', 'event.duration', `${duration} is not end - start in nanoseconds`);
  }
  const order = ['@timestamp', 'event.created', 'event.ingested'].filter((name) => at.has(name));
  for (let i = 1; i < order.length; i += 1) {
    if (time(order[i - 1]) > time(order[i])) fault('order', order[i], `before ${order[i - 1]}`);
  }
  for (const unit of ['bytes', 'packets']) {
    const [source, destination, network] = ['source', 'destination', 'network'].map((part) => at.get(`${part}.${unit}`));
    // What does not fit a `long` stands at its limit, and then the sum cannot hold.
    const all = [source, destination, network].every((n) => n !== undefined && n < Number(2n ** 63n - 1n));
    // Beyond 2^53 a number is not exact here.
    if (all && Math.abs(source + destination - network) > network * 1e-12) fault('sum', `network.${unit}`, `${network}`);
  }
}

function check(text, fields) {
  const faults = [];
  const at = new Map();
  const document = JSON.parse(text);
  walk(document, '', fields, faults, (full, value, own) => {
    at.set(full, value);
    if (value === null) faults.push({ rule: 'null', field: full, why: 'says nothing' });
    else if (!own && !fields[full]) faults.push({ rule: 'unknown', field: full, why: 'no ECS field' });
    else if (!own) checkField(full, value, fields[full], faults);
  });
  checkWhole(at, fields, faults);
  return faults;
}

function main() {
  const folder = process.argv[2];
  const require = createRequire(path.resolve(folder, 'validate.cjs'));
  const { EcsFlat, EcsVersion } = require('@elastic/ecs');
  let bad = false;
  readFileSync(0, 'utf8')
    .split('\n')
    .forEach((text, index) => {
      if (text === '') return;
      const faults = check(text, EcsFlat);
      const version = JSON.parse(text).ecs?.version;
      if (version !== EcsVersion) faults.push({ rule: 'version', field: 'ecs.version', why: `${version} against ${EcsVersion}` });
      bad ||= faults.length > 0;
      process.stdout.write(`${JSON.stringify({ line: index + 1, faults })}\n`);
    });
  process.exitCode = bad ? 1 : 0;
}

try {
  main();
} catch (error) {
  process.stderr.write(`validate.mjs: ${error.stack}\n`);
  process.exitCode = 2;
}
