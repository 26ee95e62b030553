// Runs the cells of the matrix with one Node client against a gateway.
//
// usage: node matrix.js CLIENT PLAN.json
//
// The plan holds `base_url`, `key`, what all cells share (`picture`, `system`) and `cells`. For each cell one line of
// JSON is printed with what the client found; the plan's writer judges it. A further client is an entry of `clients`.

import { readFileSync } from 'node:fs';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const plan = JSON.parse(readFileSync(process.argv[3], 'utf8'));
const form = z.object({ city: z.string(), degrees: z.number().int() });
const run = {
  weather: ({ city }) => ({ Paris: '21', Oslo: '4' })[city],
  add: ({ numbers }) => String(numbers.reduce((sum, number) => sum + number, 0)),
  now: () => '12:00',
};
const picture = `data:image/png;base64,${plan.picture}`;

// OpenAI's own SDK. A whole message goes back as it came, a streamed one as most programs put it together.
const openai = () => {
  const client = new OpenAI({ baseURL: plan.base_url, apiKey: plan.key, maxRetries: 0, timeout: 30_000 });

  const start = (cell) => [
    { role: 'system', content: plan.system },
    {
      role: 'user',
      content: cell.image
        ? [{ type: 'text', text: cell.prompt }, { type: 'image_url', image_url: { url: picture } }]
        : cell.prompt,
    },
  ];
  const options = (cell, messages) => ({
    model: cell.model,
    messages,
    ...(cell.tools?.length && { tools: cell.tools.map((one) => ({ type: 'function', function: one })) }),
    ...(cell.effort && { reasoning_effort: cell.effort }),
  });
  const usage = (told, found) => {
    found.input = told.prompt_tokens;
    found.output = told.completion_tokens;
    found.thinking = told.completion_tokens_details?.reasoning_tokens ?? 0;
  };

  const streamed = async (cell, messages, found) => {
    Object.assign(found, { text: '', reasoning: '', finish: null });
    const calls = [];
    const more = { stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create({ ...options(cell, messages), ...more })) {
      if (chunk.usage) usage(chunk.usage, found);
      for (const { delta, finish_reason } of chunk.choices) {
        found.text += delta.content ?? '';
        found.reasoning += delta.reasoning_content ?? '';
        found.finish = finish_reason ?? found.finish;
        for (const part of delta.tool_calls ?? []) {
          const call = (calls[part.index] ??= { id: '', type: 'function', function: { name: '', arguments: '' } });
          call.id ||= part.id ?? '';
          call.function.name += part.function.name ?? '';
          call.function.arguments += part.function.arguments ?? '';
        }
      }
    }
    return { role: 'assistant', content: found.text || null, ...(calls.length && { tool_calls: calls }) };
  };

  const once = async (cell, messages, found) => {
    if (cell.stream) return streamed(cell, messages, found);
    const answer = await client.chat.completions.create(options(cell, messages));
    const { message, finish_reason } = answer.choices[0];
    found.text = message.content ?? '';
    found.reasoning = message.reasoning_content ?? '';
    found.finish = finish_reason;
    usage(answer.usage, found);
    return message;
  };
  const called = (message) =>
    (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

  return {
    async say(cell, found) {
      found.tools = called(await once(cell, start(cell), found));
    },

    async loop(cell, found) {
      const messages = start(cell);
      found.steps = [];
      for (let step = 0; step < 6; step += 1) {
        const message = await once(cell, messages, found);
        messages.push(message);
        if (!message.tool_calls?.length) break;
        found.steps.push(called(message));
        for (const call of message.tool_calls) {
          const content = run[call.function.name](JSON.parse(call.function.arguments));
          messages.push({ role: 'tool', tool_call_id: call.id, content });
        }
      }
      const { text } = found;
      await once(cell, [...messages, { role: 'user', content: cell.then }], found);
      Object.assign(found, { after: found.text, text });
    },

    async form(cell, found) {
      const request = { ...options(cell, start(cell)), response_format: zodResponseFormat(form, 'weather') };
      const answer = cell.stream
        ? await client.chat.completions.stream(request).finalChatCompletion()
        : await client.chat.completions.parse(request);
      found.value = answer.choices[0].message.parsed;
    },

    told: (failure) =>
      failure instanceof OpenAI.APIError && {
        class: failure.constructor.name,
        status: failure.status ?? null,
        message: failure.error?.message ?? failure.message,
      },
  };
};

// Vercel's AI SDK, which runs the loop of tools by itself.
const aiSdk = () => {
  const provider = createOpenAICompatible({
    name: 'gateway',
    baseURL: plan.base_url,
    apiKey: plan.key,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const tools = (cell, execute) =>
    Object.fromEntries(
      cell.tools.map(({ name, description, parameters }) => [
        name,
        tool({ description, inputSchema: jsonSchema(parameters), ...(execute && { execute: run[name] }) }),
      ]),
    );

  const start = (cell) => [
    {
      role: 'user',
      content: cell.image ? [{ type: 'text', text: cell.prompt }, { type: 'image', image: picture }] : cell.prompt,
    },
  ];
  const options = (cell, messages, execute) => ({
    model: provider(cell.model),
    system: plan.system,
    messages,
    maxRetries: 0,
    stopWhen: stepCountIs(6),
    ...(cell.tools?.length && { tools: tools(cell, execute) }),
    ...(cell.effort && { providerOptions: { gateway: { reasoningEffort: cell.effort } } }),
  });

  const once = async (cell, request, found) => {
    let result;
    if (cell.stream) {
      const stream = streamText({ ...request, onError: () => {} });
      found.text = '';
      for await (const part of stream.fullStream) {
        if (part.type === 'text-delta') found.text += part.text;
        if (part.type === 'error') throw part.error;
      }
      result = Object.fromEntries(
        await Promise.all(
          ['text', 'reasoningText', 'finishReason', 'usage', 'toolCalls', 'steps', 'response'].map(async (name) => [
            name,
            await stream[name],
          ]),
        ),
      );
      if (request.output) result.output = await stream.output;
    } else {
      result = await generateText(request);
    }
    found.text = result.text;
    found.reasoning = result.reasoningText ?? '';
    found.finish = result.finishReason.replace('-', '_');
    found.input = result.usage.inputTokens;
    found.output = result.usage.outputTokens;
    found.thinking = result.usage.outputTokenDetails?.reasoningTokens ?? 0;
    return result;
  };
  const called = (step) => step.toolCalls.map((call) => [call.toolName, call.input]);

  return {
    async say(cell, found) {
      found.tools = called(await once(cell, options(cell, start(cell), false), found));
    },

    async loop(cell, found) {
      const messages = start(cell);
      const result = await once(cell, options(cell, messages, true), found);
      found.steps = result.steps.map(called).filter((calls) => calls.length);
      const { text } = found;
      messages.push(...result.response.messages, { role: 'user', content: cell.then });
      await once(cell, options(cell, messages, true), found);
      Object.assign(found, { after: found.text, text });
    },

    async form(cell, found) {
      const request = { ...options(cell, start(cell), false), output: Output.object({ schema: form, name: 'weather' }) };
      found.value = (await once(cell, request, found)).output;
    },

    told: (failure) =>
      APICallError.isInstance(failure)
        ? { class: failure.name, status: failure.statusCode ?? null, message: failure.message }
        : { class: failure?.name ?? typeof failure, status: null, message: String(failure?.message ?? failure) },
  };
};

const clients = { openai, 'ai-sdk': aiSdk };

const client = clients[process.argv[2]]();
const waiting = plan.cells.values();
const worker = async () => {
  for (const cell of waiting) {
    const found = {};
    try {
      await client[cell.do](cell, found);
    } catch (failure) {
      found.error = client.told(failure) || { class: failure.name, status: null, message: failure.stack };
    }
    console.log(JSON.stringify({ id: cell.id, found }));
  }
};
await Promise.all([1, 2, 3, 4].map(worker));
