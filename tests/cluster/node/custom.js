// Checks objects that operators bring to Kubernetes, given as a JSON list on standard input. Prints what is wrong.
//
// The published schemas let unknown fields pass, which Kubernetes drops or refuses; here they are errors.
const fs = require('node:fs');
const validate = require('@kubernetes-models/validate');

// Fields beside those that a schema names are refused, except within its alternatives, which name only some.
function closed(schema) {
  if (Array.isArray(schema) || schema === null || typeof schema !== 'object') return schema;
  const copy = { ...schema };
  if (copy.properties) {
    copy.properties = Object.fromEntries(Object.entries(copy.properties).map(([name, inner]) => [name, closed(inner)]));
    copy.additionalProperties ??= false;
  }
  for (const inner of ['items', 'additionalProperties']) if (copy[inner]) copy[inner] = closed(copy[inner]);
  return copy;
}
const { register } = validate;
validate.register = (id, schema) => register(id, closed(schema));

const models = [
  require('@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1'),
  require('@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'),
].flatMap((module) => Object.values(module));

for (const object of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  const name = `${object.kind} ${object.metadata?.name}`;
  const Model = models.find((one) => one.apiVersion === object.apiVersion && one.kind === object.kind);
  try {
    if (!Model) throw new Error(`no schema for ${object.apiVersion}`);
    new Model(object).validate();
  } catch (error) {
    console.log(`${name}: ${error.message.replaceAll('\n', ' ')}`);
  }
}
