// Runs scenarios of the Responses API with the official OpenAI SDK for Node against a gateway.
//
// usage: node responses.js PLAN.json
//
// The plan is that of scenarios.js. The first step that goes another way ends the run with a message and exit code 1.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const tools = [
  { type: 'function', name: 'f', parameters: { type: 'object', properties: {} }, strict: false },
  { type: 'custom', name: 'patch', description: 'Patches.' },
];

const client = (step) =>
  new OpenAI({ baseURL: plan.base_url, apiKey: step.key ?? plan.key, maxRetries: 0, timeout: 30_000 });

const summary = (response) => {
  const of = (type) => response.output.filter((item) => item.type === type);
  return {
    // The SDK joins it in whole answers only.
    text: of('message').flatMap((item) => item.content.map((part) => part.text ?? '')).join(''),
    status: response.status,
    calls: of('function_call').map((item) => [item.name, JSON.parse(item.arguments)]),
    inputs: of('custom_tool_call').map((item) => [item.name, item.input]),
    thoughts: of('reasoning').flatMap((item) => item.summary.map((part) => part.text)).join(''),
  };
};

const check = (response, step) => {
  const found = summary(response);
  for (const [what, value] of Object.entries(step.expect)) {
    assert.deepEqual(found[what], value, `${what}: found ${JSON.stringify(found[what])}, expected ${JSON.stringify(value)}`);
  }
};

const kinds = {
  async whole(step) {
    check(await client(step).responses.create({ tools, ...step.request }), step);
  },

  async stream(step) {
    const numbers = [];
    let words = '';
    const events = client(step).responses.stream({ tools, ...step.request });
    for await (const event of events) {
      numbers.push(event.sequence_number);
      words += event.type === 'response.output_text.delta' ? event.delta : '';
    }
    const final = await events.finalResponse();
    assert.ok(numbers.every((number, at) => at === 0 || number > numbers[at - 1]), `numbers: ${numbers}`);
    assert.equal(words, summary(final).text);
    check(final, step);
  },

  async kept(step) {
    const [mine, other] = [client(step), client({ key: step.other })];
    const first = await mine.responses.create(step.request);
    const second = await mine.responses.create({ ...step.request, previous_response_id: first.id });
    assert.equal(second.output_text, first.output_text);
    assert.equal((await mine.responses.retrieve(first.id)).id, first.id);
    const items = await mine.responses.inputItems.list(first.id);
    assert.deepEqual(items.data.map((item) => item.type), ['message']);
    await assert.rejects(other.responses.retrieve(first.id), OpenAI.NotFoundError);
    await assert.rejects(other.responses.delete(first.id), OpenAI.NotFoundError);
    await assert.rejects(other.responses.cancel(first.id), OpenAI.NotFoundError);
    const on = { ...step.request, previous_response_id: first.id };
    await assert.rejects(other.responses.create(on), OpenAI.BadRequestError);
    await mine.responses.delete(first.id);
    await assert.rejects(mine.responses.retrieve(first.id), OpenAI.NotFoundError);
  },

  async error(step) {
    try {
      const answer = await client(step).responses.create(step.request);
      if (step.request.stream) {
        for await (const event of answer) {
          if (event.type === 'response.failed') {
            assert.equal(event.response.error.code, step.expect.code);
            return;
          }
        }
      }
    } catch (failure) {
      assert.equal(failure.constructor.name, step.expect.class, String(failure));
      assert.equal(failure.code, step.expect.code);
      return;
    }
    assert.fail('there was no error');
  },
};

for (const [number, step] of plan.steps.entries()) {
  try {
    await kinds[step.kind](step);
  } catch (failure) {
    console.log(`step ${number} ${JSON.stringify(step)}: ${failure}`);
    process.exit(1);
  }
}
console.log(`${plan.steps.length} steps`);
