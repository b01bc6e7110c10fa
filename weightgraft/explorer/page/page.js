// The explorer's page: one state, which is what the address says; the server answers it, and the page shows the answer.

import { Grid, percent, signed } from './grid.js';
import { ask, askLines, fresh, fromFragment, letters, mapKey, movedSpans, question, toFragment } from './state.js';

const $ = id => document.getElementById(id);
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const GROUPS = { ATTN: ['q', 'k', 'v'], O: ['o'], FFN: ['gate', 'up', 'down'], NORM: ['attn_norm', 'mlp_norm', 'final_norm'] };
const SINGLE = ['q', 'k', 'v', 'o', 'gate', 'up', 'down', 'attn_norm', 'mlp_norm'];
let info, state = fresh(), answer = null, map = null, clicks = [], busy = false, again = null;
const brush = new Set();

const tone = name => ({ FE: 'var(--FE)', LT: 'var(--LT)', M: 'var(--M)', R: 'var(--R)' })[name] || 'var(--quiet)';
const donorTone = donor => `var(--donor-${Math.max(0, Object.keys(info.donors).indexOf(donor)) % 4})`;
const number = (value, digits) => (value == null ? '–' : signed(value, digits));
const visible = node => node && !node.hidden;

const grid = new Grid($('grid'), (tokens, rows) => {
  const chosen = brush.size ? [...brush] : info.components;
  clicks.push({ tokens, rows, components: chosen, donor: state.donor || Object.keys(info.donors)[0] });
  pump('click');
}, look);

// ---- asking: one question at a time; clicks that are made meanwhile go together with the next one

async function pump(why) {
  again = again === 'ask' ? again : why;
  if (busy) return;
  busy = true;
  while (again) {
    const because = again, sent = clicks;
    again = null;
    clicks = [];
    try {
      const response = await ask('/api/answer', { ...question(state), clicks: because === 'ask' ? [] : sent });
      const found = await response.json();
      if (again === 'ask') continue;  // something else is asked already
      answer = found;
      state.scheme = found.scheme;
      show();
      remember(because !== 'first');
      fail(null);
    } catch (error) {
      clicks = [];
      fail(error);
      if (answer) paint();
    }
  }
  busy = false;
  document.body.dataset.state = 'still';
}

function fail(error) {
  $('error').hidden = !error;
  $('error').textContent = error ? error.message : '';
  const at = error && error.message.match(/^scheme notation .*, character (\d+): /);
  $('scheme').setAttribute('aria-invalid', Boolean(at));
  if (at && document.activeElement === $('scheme')) $('scheme').setSelectionRange(Number(at[1]) - 1, Number(at[1]) - 1);
}

function remember(push) {
  const now = `#${toFragment(state)}`;
  if (now !== location.hash) history[push ? 'pushState' : 'replaceState'](null, '', now);
}

function asked() {  // of the form
  state.prompt = $('prompt').value;
  state.target = $('target').value;
  state.chat = $('chat').checked;
  document.body.dataset.state = 'busy';
  if (!map || map.key !== mapKey(state)) forgetMap();
  pump('ask');
}

// ---- showing

function show() {
  $('empty').hidden = true;
  for (const id of ['answer', 'wrap', 'map-bar', 'help', 'take-title', 'take', 'python-field', 'summary']) $(id).hidden = false;
  grid.build(answer.tokens, info.rows, answer.positions, tone);
  if (document.activeElement !== $('scheme') || busy) $('scheme').value = answer.scheme;
  $('python').textContent = answer.python;
  $('target').placeholder = state.target ? '' : `SFT's own first guess: ${JSON.stringify(answer.target)}`;
  quick();
  columns();
  verdict();
  const notes = answer.notes.map(text => Object.assign(document.createElement('li'), { textContent: text }));
  $('notes').replaceChildren(...notes);
  $('warning').hidden = !answer.warning;
  $('warning').textContent = answer.warning || '';
  fit();
  paint();
}

function button(text, pressed, act, title) {
  const made = Object.assign(document.createElement('button'), { type: 'button', textContent: text, onclick: act });
  if (pressed !== null) made.setAttribute('aria-pressed', pressed);
  if (title) made.title = title;
  return made;
}

function quick() {
  const names = [...new Set(state.spans.map(([name]) => name))], first = names.includes('FE') ? 'FE' : names[0];
  const list = ['PRE', 'SFT', ...(first ? [first, 'LT', `${first}+LT`, `(${first}+LT)^C`] : ['LT', 'LT^C'])];
  $('quick').replaceChildren(...list.map(text => button(text, answer.scheme === text, () => graft(text))));
}

function graft(text) {
  clicks = [];
  state.scheme = text.trim() || 'PRE';
  document.body.dataset.state = 'busy';
  pump('ask');
}

function columns() {
  const titles = ['PRE', 'this graft', 'SFT'], order = [answer.schemes[0], answer.schemes[2], answer.schemes[1]];
  const wanted = answer.target_tokens[0].id;
  $('columns').replaceChildren(...order.map((row, place) => {
    const column = document.createElement('section'), list = document.createElement('ol');
    column.className = ['pre', 'graft', 'sft'][place];
    column.setAttribute('aria-label', titles[place]);
    const head = Object.assign(document.createElement('h3'), { textContent: titles[place] });
    const told = row.joint_logprob == null ? ['not finite', ''] : [`${signed(row.joint_logprob)} nats`, `rank ${row.target_rank.toLocaleString('en')}`];
    const lines = told.map(textContent => Object.assign(document.createElement('p'), { textContent }));
    for (const best of row.top) {
      const item = document.createElement('li'), share = Object.assign(document.createElement('span'), { textContent: `${percent(best.probability)} %` });
      item.append(Object.assign(document.createElement('b'), { textContent: best.shown, title: best.text }), share);
      item.style.setProperty('--share', `${100 * best.probability}%`);
      item.classList.toggle('wanted', best.token === wanted);
      list.append(item);
    }
    column.append(head, ...lines, list);
    return column;
  }));
}

function verdict() {
  const [pre, sft, graft] = answer.schemes, r = graft.recovered, many = answer.target_tokens.length;
  const target = answer.target.trim();
  $('recovered').textContent = r == null ? `${number(graft.joint_logprob, 2)} nats` : `r = ${signed(r, 2)}`;
  $('verdict').textContent = graft.joint_logprob == null ? 'its log-probability is not finite'
    : r == null ? `for “${target}”${many > 1 ? ` (all ${many} tokens)` : ''}`
      : `recovered of “${target}”: log-probability ${signed(graft.joint_logprob)}${many > 1 ? ` of all ${many} tokens` : ''}, from ${signed(pre.joint_logprob)} (PRE) to ${signed(sft.joint_logprob)} (SFT)`;
  $('short-recovered').textContent = $('recovered').textContent;
  $('short').textContent = `${answer.scheme}${graft.top.length ? ` → ${graft.top[0].shown} ${percent(graft.top[0].probability)} %` : ''}`;
  $('scale').hidden = r == null;
  if (r == null) return;
  const low = Math.min(0, r) - 0.02, high = Math.max(1, r) + 0.02, at = value => 100 * (value - low) / (high - low);
  $('bar').style.left = `${at(Math.min(0, r))}%`;
  $('bar').style.width = `${at(Math.max(0, r)) - at(Math.min(0, r))}%`;
  $('bar').classList.toggle('below', r < 0);
  $('tick-pre').style.left = `${at(0)}%`;
  $('tick-sft').style.left = `${at(1)}%`;
}

function colourOf(value) {
  const steps = info.diverging, share = Math.max(0, Math.min(1, 0.5 + value / map.limit / 2)) * (steps.length - 1);
  const low = Math.floor(share), part = share - low, hex = place => [1, 3, 5].map(i => parseInt(steps[Math.min(place, steps.length - 1)].slice(i, i + 2), 16));
  const mixed = hex(low).map((one, i) => Math.round(one + part * (hex(low + 1)[i] - one)));
  return `rgb(${mixed.join(' ')})`;
}

const mapOn = () => map && $('show').checked;
const valueAt = (row, token) => map && map.values[info.rows.indexOf(row) * answer.tokens.length + token];
const alone = value => (value == null ? '' : map.unit === 'fraction' ? `alone it recovers ${percent(value)} %` : `alone it adds ${signed(value)} nats`);
const wholeAt = (kind, place) => {
  const n = answer.tokens.length;
  return map && map.values[info.rows.length * n + (kind === 'token' ? place : n + info.rows.indexOf(place))];
};

function paint() {
  const colours = mapOn() && ((row, token) => {
    const value = valueAt(row, token);
    if (value === undefined) return null;
    if (value === null) return { colour: '#fff', ink: '#777', text: '×', told: 'not finite' };
    return {
      colour: colourOf(value), ink: Math.abs(value) > 0.76 * map.limit ? '#fff' : '#000',
      text: map.unit === 'fraction' ? percent(value) : signed(value, 1), told: alone(value),
    };
  });
  grid.paint(answer.cells, donorTone, colours, mapOn() && map.unit === 'fraction' ? wholeAt : null);
}

function look(token, row) {
  if (!answer || token === undefined) return void ($('told').textContent = '');
  if (token !== null && row !== null) {
    const box = grid.boxes[grid.rows.indexOf(row) + 1][token + 1];
    $('told').textContent = `T${token} ${box.getAttribute('aria-label')}`;
  } else if (token === null && row === null) $('told').textContent = 'everything: all tokens, all layers';
  else {
    const value = token === null ? wholeAt('row', row) : wholeAt('token', token);
    $('told').textContent = `${token === null ? `${grid.rowName(row)} at all tokens` : `T${token} ${answer.tokens[token].shown}: all its layers`}${value == null ? '' : `; ${alone(value)}`}`;
  }
}

function fit() {  // numbers only where there is room for them
  const box = grid.boxes[1] && grid.boxes[1][1];
  if (box) $('grid').classList.toggle('narrow', box.clientWidth < 29);
}

// ---- the map

function forgetMap() {
  map = null;
  state.map = false;
  $('show-field').hidden = $('legend').hidden = true;
  $('progress').hidden = true;
  $('progress-text').textContent = '';
  $('fill').hidden = false;
}

async function fill() {
  const mine = { key: mapKey(state), values: [], limit: 1, unit: 'fraction', done: false };
  map = mine;
  $('fill').hidden = true;
  $('progress').hidden = $('show-field').hidden = false;
  $('progress').value = 0;
  $('progress-text').textContent = '0 %';
  try {
    for await (const line of askLines('/api/map', question(state))) {
      if (map !== mine) return;
      line.values.forEach((value, i) => { mine.values[line.from + i] = value; });
      Object.assign(mine, { limit: line.limit, unit: line.unit });
      $('progress').value = line.done / line.total;
      $('progress-text').textContent = `${line.done} of ${line.total} cells`;
      legend();
      paint();
    }
    mine.done = true;
    state.map = true;
    remember(false);
    $('progress').hidden = true;
    $('progress-text').textContent = '';
  } catch (error) {
    if (map === mine) forgetMap();
    fail(error);
  }
}

function legend() {
  const share = map.unit === 'fraction', limit = share ? `${percent(map.limit)} %` : `${signed(map.limit, 1)} nats`;
  $('legend').hidden = !$('show').checked;
  $('low').textContent = `−${limit}`;
  $('high').textContent = `${limit} ${share ? 'recovered by the cell alone' : 'by the cell alone'}`;
  $('ramp').style.background = `linear-gradient(to right, ${info.diverging.join(',')})`;
}

// ---- what is marked in the prompt

function spans() {
  $('spans').replaceChildren(...state.spans.map(([name, start, end], place) => {
    const item = document.createElement('li'), text = letters(state.prompt).slice(start, end).join('');
    item.style.setProperty('--tone', tone(name));
    item.append(Object.assign(document.createElement('b'), { textContent: name }), ` ${text} `);
    const drop = button('×', null, () => { state.spans.splice(place, 1); spans(); if (answer) asked(); });
    drop.setAttribute('aria-label', `take the mark ${name} off ${text}`);
    item.append(drop);
    return item;
  }));
}

function selected() {
  const field = $('prompt'), text = field.value.slice(field.selectionStart, field.selectionEnd);
  if (text.trim()) Object.assign($('span-text'), { value: text }).dataset.at = letters(field.value.slice(0, field.selectionStart)).length;
}

function mark() {
  const name = $('span-name').value.trim(), text = $('span-text').value, all = $('prompt').value;
  const places = [], told = at => letters(all.slice(0, at)).length;
  for (let at = all.indexOf(text); text && at >= 0; at = all.indexOf(text, at + 1)) places.push(told(at));
  const chosen = $('span-text').dataset.at, start = places.includes(Number(chosen)) && chosen !== '' ? Number(chosen) : places[0];
  if (!/^[A-Za-z_]\w*$/.test(name)) return fail(new Error('a mark has a name of letters, digits and _, such as FE'));
  if (!places.length) return fail(new Error(text ? `“${text}” is not in the prompt` : 'select a part of the prompt first, or type it'));
  state.prompt = all;
  const end = start + letters(text).length, same = ([other, a, b]) => other === name && a === start && b === end;
  if (!state.spans.some(same)) state.spans.push([name, start, end]);
  state.spans.sort((one, other) => one[1] - other[1]);
  $('span-text').value = '';
  $('span-text').dataset.at = '';
  fail(null);
  spans();
  if (answer) asked();
}

// ---- what a click grafts

function brushes() {
  const has = parts => parts.filter(part => info.components.includes(part));
  const press = parts => { const on = parts.every(part => brush.has(part)); for (const part of parts) brush[on ? 'delete' : 'add'](part); brushes(); };
  const on = parts => parts.length > 0 && parts.every(part => brush.has(part));
  const groups = Object.entries(GROUPS).map(([name, parts]) => button(name, on(has(parts)), () => press(has(parts)), `a click grafts ${has(parts).join(', ')}`));
  const more = button('single …', !$('brush-more').hidden, () => { $('brush-more').hidden = !$('brush-more').hidden; brushes(); });
  more.setAttribute('aria-expanded', !$('brush-more').hidden);
  more.removeAttribute('aria-pressed');
  const label = Object.assign(document.createElement('span'), { textContent: 'a click grafts' });
  const all = button('all components', brush.size === 0, () => { brush.clear(); brushes(); });
  redraw($('brushes'), [label, all, ...groups, more]);
  redraw($('brush-more'), has(SINGLE).map(part => button(part, brush.has(part), () => press([part]))));
}

function redraw(node, children) {  // the keyboard stays where it was
  const place = [...node.children].indexOf(document.activeElement);
  node.replaceChildren(...children);
  if (place >= 0) node.children[place].focus();
}

function donors() {
  const names = Object.keys(info.donors);
  $('donor-field').hidden = names.length < 2;
  const label = Object.assign(document.createElement('span'), { textContent: 'of' });
  redraw($('donor-field'), [label, ...names.map(name => button(name, (state.donor || names[0]) === name, () => { state.donor = name; donors(); }))]);
}

// ---- taken along

function save(name, blob) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  $('taken').textContent = `${name} saved`;
}

async function copied(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    $('taken').textContent = `${what} copied`;
  } catch {
    $('taken').textContent = 'the browser does not allow copying: take it from the address bar, or from the lines below';
  }
}

async function take(what) {
  $('taken').textContent = '…';
  try {
    if (what === 'png' && !(map && map.done)) await fill();
    const response = await ask(what === 'png' ? '/api/picture' : '/api/document', question(state));
    if (what === 'png') return save('explorer.png', await response.blob());
    const found = { ...await response.json(), address: location.href };
    save('explorer.json', new Blob([JSON.stringify(found, null, 2)], { type: 'application/json' }));
  } catch (error) {
    $('taken').textContent = '';
    fail(error);
  }
}

// ---- from the address to the page

function load(why) {
  const donor = state.donor;
  state = { ...fromFragment(location.hash), donor };
  const wanted = state.map;
  if (!map || map.key !== mapKey(state)) forgetMap();
  $('prompt').value = state.prompt;
  $('target').value = state.target;
  $('chat').checked = state.chat;
  clicks = [];
  spans();
  if (!state.prompt) return;
  state.map = wanted;
  document.body.dataset.state = 'busy';
  pump(why).then(() => { if (wanted && !map && answer) fill(); });
}

async function start() {
  info = await (await fetch('/api/about')).json();
  const [donor, folder] = Object.entries(info.donors)[0], last = path => path.replace(/\/+$/, '').split('/').pop();
  $('models').textContent = `PRE: ${last(info.recipient)} · SFT: ${donor} = ${last(folder)} · ${info.rows.length - 2} layers, ${info.dtype}, ${info.device}`;
  $('models').title = `${info.recipient}\n${Object.entries(info.donors).map(pair => pair.join(' = ')).join('\n')}`;
  $('chat-field').hidden = !info.chat;
  brushes();
  donors();
  $('question').addEventListener('submit', event => { event.preventDefault(); asked(); });
  $('scheme-form').addEventListener('submit', event => { event.preventDefault(); graft($('scheme').value); });
  $('prompt').addEventListener('select', selected);
  $('prompt').addEventListener('input', () => { state.spans = movedSpans(state.spans, state.prompt, $('prompt').value); state.prompt = $('prompt').value; spans(); });
  $('prompt').addEventListener('keydown', event => { if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); asked(); } });
  $('span-text').addEventListener('input', () => { $('span-text').dataset.at = ''; });
  for (const id of ['span-name', 'span-text']) $(id).addEventListener('keydown', event => { if (event.key === 'Enter') { event.preventDefault(); mark(); } });
  $('mark').onclick = mark;
  $('fill').onclick = fill;
  $('show').onchange = () => { paint(); legend(); };
  $('link').onclick = () => copied(location.href, 'link');
  $('lines').onclick = () => copied(answer.python, 'Python lines');
  $('png').onclick = () => take('png');
  $('json').onclick = () => take('json');
  window.addEventListener('popstate', () => load('ask'));
  window.addEventListener('resize', () => answer && fit());
  load('first');
}

start().catch(error => { $('models').textContent = `The explorer does not answer: ${error.message}`; });
