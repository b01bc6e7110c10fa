// What is asked, and its place in the address: everything behind the # can be shared as a link.

export const letters = text => [...text];  // Python counts characters, JavaScript halves of some

export const fresh = () => ({ prompt: '', target: '', foil: '', chat: false, spans: [], scheme: 'PRE', map: false, brush: 'all', donor: '' });

export function toFragment(state) {
  const fields = new URLSearchParams();
  if (state.prompt) fields.append('prompt', state.prompt);
  if (state.target) fields.append('target', state.target);
  if (state.foil) fields.append('foil', state.foil);
  for (const [name, start, end] of state.spans) fields.append('span', `${name}:${start}:${end}`);
  if (state.scheme && state.scheme !== 'PRE') fields.append('scheme', state.scheme);
  if (state.chat) fields.append('chat', '1');
  if (state.map) fields.append('map', '1');
  return fields.toString();
}

export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, '')), state = fresh();
  for (const name of ['prompt', 'target', 'foil', 'scheme']) state[name] = fields.get(name) || state[name];
  state.chat = fields.get('chat') === '1';
  state.map = fields.get('map') === '1';
  for (const span of fields.getAll('span')) {
    const parts = span.match(/^(\w+):(\d+):(\d+)$/);
    if (parts) state.spans.push([parts[1], Number(parts[2]), Number(parts[3])]);
  }
  return state;
}

export const question = state => ({
  prompt: state.prompt, target: state.target, foil: state.foil, chat: state.chat, spans: state.spans, scheme: state.scheme,
});

// A question that differs in more than its scheme has another map.
export const mapKey = state => JSON.stringify([state.prompt, state.target, state.foil, state.chat]);

// Marks stay on their words while the prompt is edited around them; a mark whose own text is edited goes.
export function movedSpans(spans, before, after) {
  const old = letters(before), now = letters(after);
  let head = 0, tail = 0;
  while (head < Math.min(old.length, now.length) && old[head] === now[head]) head += 1;
  while (tail < Math.min(old.length, now.length) - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1;
  const shift = now.length - old.length;
  return spans.flatMap(([name, start, end]) =>
    end <= head ? [[name, start, end]] : start >= old.length - tail ? [[name, start + shift, end + shift]] : []);
}

async function refused(response) {
  let why = `the explorer answers ${response.status}`;
  try { why = (await response.json()).error || why; } catch { /* no JSON: the status tells all there is */ }
  return new Error(why);
}

const post = (path, body) => fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
  .catch(() => { throw new Error('the explorer does not answer: is weightgraft explore still running in its terminal?'); });

export async function ask(path, body) {
  const response = await post(path, body);
  if (!response.ok) throw await refused(response);
  return response;
}

// JSON lines as they come.
export async function* askLines(path, body) {
  const reader = (await ask(path, body)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) yield JSON.parse(line);
    }
  } finally {
    reader.cancel();  // whoever stops listening stops the work
  }
}
