// Runs scenarios with the official OpenAI SDK for Node against a gateway.
//
// usage: node scenarios.js PLAN.json
//
// The plan holds `base_url`, `key` and `steps`. Each step is one call with what must come of it;
// the first step that goes another way ends the run with a message and exit code 1.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const client = (step) =>
  new OpenAI({ baseURL: plan.base_url, apiKey: step.key ?? plan.key, maxRetries: 0, timeout: 30_000 });

const check = (found, expected) => {
  for (const [what, value] of Object.entries(expected)) {
    assert.deepEqual(found[what], value, `${what}: found ${JSON.stringify(found[what])}, expected ${JSON.stringify(value)}`);
  }
};

const kinds = {
  async whole(step) {
    const answer = await client(step).chat.completions.create(step.request);
    assert.equal(answer.object, 'chat.completion');
    const { message, finish_reason } = answer.choices[0];
    assert.equal(message.role, 'assistant');
    check(
      {
        content: message.content ?? '',
        tools: (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments || '{}')]),
        finish: finish_reason ?? null,
        choices: answer.choices.length,
        total_tokens: answer.usage?.total_tokens ?? null,
      },
      step.expect,
    );
  },

  async stream(step) {
    const content = [];
    const calls = [];
    const finish = [];
    let usage = null;
    let usageChunks = 0;
    for await (const chunk of await client(step).chat.completions.create(step.request)) {
      assert.equal(chunk.object, 'chat.completion.chunk');
      usage = chunk.usage ?? usage;
      usageChunks += chunk.choices.length === 0 && chunk.usage ? 1 : 0;
      for (const { index, delta, finish_reason } of chunk.choices) {
        content[index] = (content[index] ?? '') + (delta.content ?? '');
        for (const part of delta.tool_calls ?? []) {
          const known = (calls[part.index] ??= { id: '', name: '', text: '' });
          known.id ||= part.id ?? '';
          known.name += part.function.name ?? '';
          known.text += part.function.arguments ?? '';
        }
        finish[index] = finish_reason ?? finish[index];
      }
    }
    assert.ok(calls.every((call) => call.id), `a tool call has no id: ${JSON.stringify(calls)}`);
    check(
      {
        content: content[0] ?? '',
        tools: calls.filter(Boolean).map(({ name, text }) => [name, JSON.parse(text || '{}')]),
        finish: finish[0] ?? null,
        choices: content.length,
        total_tokens: usage?.total_tokens ?? null,
        usage_chunks: usageChunks,
      },
      step.expect,
    );
  },

  async models(step) {
    const found = [];
    for await (const model of client(step).models.list()) found.push(model.id);
    assert.deepEqual(found, step.expect);
  },

  async error(step) {
    if (step.padding) step.request.messages[0].content = 'x'.repeat(step.padding);
    const expected = OpenAI[step.expect.node];
    try {
      const answer = await client(step).chat.completions.create(step.request);
      if (step.request.stream) for await (const chunk of answer) void chunk;
    } catch (failure) {
      assert.equal(failure.constructor.name, expected.name, `${failure.constructor.name}: ${failure.message}`);
      if ('status' in step.expect) assert.equal(failure.status, step.expect.status);
      assert.ok(failure.error?.message, `the SDK finds no message in ${JSON.stringify(failure.error)}`);
      assert.ok(failure.error.message.includes(step.expect.contains ?? ''), `message: ${failure.error.message}`);
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
