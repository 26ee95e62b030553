// Makes JSON Schema of the types in types.ts: schema.js FILE, an object with a schema for each.
const fs = require('node:fs');
const path = require('node:path');

const types = ['Board', 'Query', 'BarGauge', 'Stat', 'Table', 'TableColumn', 'TimeSeries', 'TimeSeriesLine'];

import('ts-json-schema-generator').then(({ createGenerator }) => {
  // Types within are written out: two of Grafana's have the same name.
  const settings = { path: path.join(__dirname, 'types.ts'), tsconfig: path.join(__dirname, 'tsconfig.json'), expose: 'none' };
  const generator = createGenerator({ ...settings, type: '*' });
  const schemas = Object.fromEntries(types.map((type) => [type, generator.createSchema(type)]));
  fs.writeFileSync(process.argv[2], JSON.stringify(schemas));
});
