// Runs scenarios with the official Anthropic SDK for Node against a gateway.
//
// usage: node messages.js PLAN.json
//
// The plan holds `base_url`, `key` and `steps`, as that of `scenarios.js` does.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const client = (step) =>
  new Anthropic({ baseURL: plan.base_url, apiKey: step.key ?? plan.key, maxRetries: 0, timeout: 30_000 });

const check = (found, expected) => {
  for (const [what, value] of Object.entries(expected)) {
    assert.deepEqual(found[what], value, `${what}: found ${JSON.stringify(found[what])}, expected ${JSON.stringify(value)}`);
  }
};

const meaning = (message) => {
  assert.deepEqual([message.type, message.role], ['message', 'assistant']);
  const of = (type) => message.content.filter((block) => block.type === type);
  assert.ok(of('thinking').every((block) => block.signature), 'a thought has no signature');
  return {
    text: of('text').map((block) => block.text).join(''),
    thinking: of('thinking').map((block) => block.thinking).join(''),
    tools: of('tool_use').map((block) => [block.name, block.input]),
    stop: message.stop_reason,
    input: message.usage.input_tokens,
    output: message.usage.output_tokens,
  };
};

const kinds = {
  async whole(step) {
    check(meaning(await client(step).messages.create(step.request)), step.expect);
  },

  async stream(step) {
    const seen = [];
    const answer = client(step).messages.stream(step.request);
    for await (const event of answer) seen.push(event.type);
    const of = (type) => seen.filter((one) => one === type).length;
    assert.deepEqual([seen[0], seen.at(-1)], ['message_start', 'message_stop']);
    assert.equal(of('content_block_stop'), of('content_block_start'));
    check(meaning(await answer.finalMessage()), step.expect);
  },

  // A loop of tools: what the model calls is answered until it calls nothing more.
  async rounds(step) {
    const messages = [...step.request.messages];
    let calls = 0;
    for (let round = 0; round < 8; round += 1) {
      const message = await client(step).messages.stream({ ...step.request, messages }).finalMessage();
      messages.push({ role: 'assistant', content: message.content });
      const called = message.content.filter((block) => block.type === 'tool_use');
      if (called.length === 0) return check({ ...meaning(message), calls }, step.expect);
      calls += called.length;
      const content = called.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: `result ${calls}` }));
      messages.push({ role: 'user', content });
    }
    return assert.fail('the loop does not end');
  },

  async count(step) {
    check({ input: (await client(step).messages.countTokens(step.request)).input_tokens }, step.expect);
  },

  async models(step) {
    const found = [];
    for await (const model of client(step).models.list({ limit: 2 })) found.push(model.id);
    assert.deepEqual(found, step.expect);
  },

  async error(step) {
    const expected = Anthropic[step.expect.node];
    try {
      const answer = await client(step).messages.create(step.request);
      if (step.request.stream) for await (const event of answer) void event;
    } catch (failure) {
      assert.equal(failure.constructor.name, expected.name, `${failure.constructor.name}: ${failure.message}`);
      if ('status' in step.expect) assert.equal(failure.status, step.expect.status);
      assert.ok(failure.message.includes(step.expect.contains ?? ''), `message: ${failure.message}`);
      return;
    }
    assert.fail(`no error, expected ${expected.name}`);
  },
};

for (const [number, step] of plan.steps.entries()) {
  try {
    await kinds[step.kind](step);
  } catch (failure) {
    console.error(`step ${number} (${step.kind} ${step.request?.model ?? ''}): ${failure.stack}`);
    process.exit(1);
  }
}
console.log(`${plan.steps.length} steps`);
