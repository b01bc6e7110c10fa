// The grid of tokens by layers: drawn as in the figures, the first layer below; walked by mouse or keys.

const make = (kind, role, text) => {
  const node = document.createElement(kind);
  if (role) node.setAttribute('role', role);
  if (text !== undefined) node.textContent = text;
  return node;
};

// Hundredths as in the figures (style.percent): 12, .3, 0.
export function percent(value) {
  const size = Math.abs(100 * value), text = size >= 0.95 ? size.toFixed(0) : size.toFixed(1).replace(/^0/, '');
  return text === '.0' ? '0' : (value > 0 ? '' : '−') + text;
}
export const signed = (value, digits = 2) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace('-', '') : text.replace('-', '−');
};

export class Grid {
  // onClick(tokens, rows): a block was chosen. onLook(token, row): something is pointed at; null for all of them.
  constructor(root, onClick, onLook) {
    Object.assign(this, { root, onClick, onLook, at: [0, 0], from: null, drag: null, boxes: [] });
    root.addEventListener('keydown', event => this.key(event));
    root.addEventListener('pointerdown', event => this.down(event));
    root.addEventListener('pointerover', event => this.over(event));
    root.addEventListener('pointerleave', () => this.onLook(undefined));
    root.addEventListener('focusin', event => this.place(event.target) && this.look(this.place(event.target)));
    document.addEventListener('pointerup', event => this.up(event));
    document.addEventListener('pointercancel', () => { this.drag = null; });  // a finger that scrolls
    root.addEventListener('contextmenu', () => { this.drag = null; this.block(null); });
  }

  // tokens: {shown}; rows from the first (embed); sets: name -> tokens.
  build(tokens, rows, sets, tone) {
    const had = this.root.contains(document.activeElement);
    this.rows = [...rows].reverse();  // the last one on top
    this.tokens = tokens;
    this.n = [this.rows.length + 1, tokens.length + 1];  // with the headers
    this.root.replaceChildren();
    this.root.style.setProperty('--tokens', tokens.length);
    this.root.setAttribute('aria-rowcount', this.n[0]);
    this.root.setAttribute('aria-colcount', this.n[1]);
    this.boxes = [];
    const names = token => Object.keys(sets).filter(name => sets[name].includes(token));
    const brackets = make('div');
    brackets.className = 'brackets';
    brackets.setAttribute('aria-hidden', 'true');
    for (const [name, members] of Object.entries(sets)) {
      for (let i = 0; i < members.length; i += 1) {
        const first = members[i];
        while (members[i + 1] === members[i] + 1) i += 1;
        const mark = make('span', null, name);
        mark.style.gridColumn = `${first + 2} / ${members[i] + 3}`;
        mark.style.setProperty('--tone', tone(name));
        brackets.append(mark);
      }
    }
    this.root.append(brackets);
    for (let y = 0; y < this.n[0]; y += 1) {
      const line = make('div', 'row');
      line.className = y === 0 ? 'line head' : `line${['embed', 'readout'].includes(this.rows[y - 1]) ? ' apart' : ''}`;
      this.boxes.push([]);
      for (let x = 0; x < this.n[1]; x += 1) {
        const role = y === 0 ? 'columnheader' : x === 0 ? 'rowheader' : 'gridcell';
        const text = y === 0 ? (x === 0 ? 'all' : tokens[x - 1].shown) : x === 0 ? this.rows[y - 1] : '';
        const box = make('div', role);
        if (y === 0 && x > 0) box.append(make('span', null, text)); else box.textContent = text;
        box.className = role;
        box.tabIndex = -1;
        box.dataset.y = y;
        box.dataset.x = x;
        if (y === 0 && x > 0) {
          box.setAttribute('aria-label', `token ${x - 1}, ${text}${names(x - 1).length ? `, in ${names(x - 1).join(' and ')}` : ''}: all layers`);
          if (names(x - 1).length) box.style.setProperty('--tone', tone(names(x - 1)[0]));
        } else if (x === 0) {
          box.setAttribute('aria-label', y === 0 ? 'everything' : `${this.rowName(this.rows[y - 1])}: all tokens`);
        }
        this.boxes[y].push(box);
        line.append(box);
      }
      this.root.append(line);
    }
    this.at = [Math.min(this.at[0], this.n[0] - 1), Math.min(this.at[1], this.n[1] - 1)];
    this.boxes[this.at[0]][this.at[1]].tabIndex = 0;
    if (had) this.boxes[this.at[0]][this.at[1]].focus();
  }

  rowName(row) { return row === 'embed' ? 'embedding' : row === 'readout' ? 'readout (final norm and unembedding)' : `layer ${row}`; }

  // cells: what a donor serves. colours: what the map says of a cell, [row][token] -> {colour, ink, text, told} or null.
  paint(cells, tone, colours, loud) {
    const lit = new Map(cells.map(cell => [`${cell.row}/${cell.token}`, cell]));
    this.root.classList.toggle('mapped', Boolean(colours));
    for (let y = 1; y < this.n[0]; y += 1) {
      for (let x = 1; x < this.n[1]; x += 1) {
        const row = this.rows[y - 1], cell = lit.get(`${row}/${x - 1}`), of = colours && colours(row, x - 1), box = this.boxes[y][x];
        box.setAttribute('aria-selected', Boolean(cell));
        box.classList.toggle('lit', Boolean(cell));
        box.classList.toggle('part', Boolean(cell) && cell.share < 1);
        box.classList.remove('waits');
        box.style.setProperty('--graft', cell ? tone(cell.donor) : '');
        box.style.setProperty('--share', cell ? `${Math.max(18, Math.round(100 * cell.share))}%` : '');
        box.style.setProperty('--map', of ? of.colour : '');
        box.style.color = of ? of.ink : '';
        box.textContent = of ? of.text : '';
        const grafted = cell ? Object.entries(cell.components).map(([donor, parts]) => `${cell.share === 1 && Object.keys(cell.components).length === 1 ? 'all' : parts.join(', ')} of ${donor}`).join('; ') : '';
        box.setAttribute('aria-label', `${this.tokens[x - 1].shown}, ${this.rowName(row)}: ${grafted ? `grafted: ${grafted}` : 'PRE'}${of && of.told ? `; ${of.told}` : ''}`);
      }
    }
    for (let x = 1; x < this.n[1]; x += 1) this.loud(this.boxes[0][x], loud && loud('token', x - 1));
    for (let y = 1; y < this.n[0]; y += 1) this.loud(this.boxes[y][0], loud && loud('row', this.rows[y - 1]));
  }

  loud(box, value) { box.style.setProperty('--loud', value == null ? '' : `${Math.max(0, Math.min(1, value)) * 100}%`); box.classList.toggle('measured', value != null); }

  place(node) { const box = node && node.closest && node.closest('[data-y]'); return box && this.root.contains(box) ? [Number(box.dataset.y), Number(box.dataset.x)] : null; }

  look([y, x]) { this.onLook(x === 0 ? null : x - 1, y === 0 ? null : this.rows[y - 1]); }

  go(y, x, focus = true) {
    this.boxes[this.at[0]][this.at[1]].tabIndex = -1;
    this.at = [Math.max(0, Math.min(this.n[0] - 1, y)), Math.max(0, Math.min(this.n[1] - 1, x))];
    const box = this.boxes[this.at[0]][this.at[1]];
    box.tabIndex = 0;
    if (focus) box.focus({ preventScroll: false });
  }

  // The cells from one place to another; a header stands for all of its line.
  span(one, other) {
    const side = (a, b, n) => (a === 0 || b === 0 ? [1, n - 1] : [Math.min(a, b), Math.max(a, b)]);
    return [...side(one[0], other[0], this.n[0]), ...side(one[1], other[1], this.n[1])];
  }

  block(span) {
    for (const line of this.boxes) for (const box of line) box.classList.remove('block');
    if (span) for (let y = span[0]; y <= span[1]; y += 1) for (let x = span[2]; x <= span[3]; x += 1) this.boxes[y][x].classList.add('block');
  }

  choose(span) {
    const rows = this.rows.slice(span[0] - 1, span[1]), tokens = [];
    for (let x = span[2]; x <= span[3]; x += 1) tokens.push(x - 1);
    for (let y = span[0]; y <= span[1]; y += 1) for (let x = span[2]; x <= span[3]; x += 1) this.boxes[y][x].classList.add('waits');
    this.onClick(tokens, rows);
  }

  key(event) {
    const [y, x] = this.at, page = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1],
      Home: page ? [0, 0] : [y, 0], End: page ? [this.n[0] - 1, this.n[1] - 1] : [y, this.n[1] - 1], PageUp: [y - 5, x], PageDown: [y + 5, x],
    };
    if (event.key in moves) {
      if (event.shiftKey) this.from = this.from || [...this.at]; else this.from = null;
      this.go(...moves[event.key]);
      this.block(this.from && this.span(this.from, this.at));
    } else if (event.key === ' ' || event.key === 'Enter') {
      this.choose(this.span(this.from || this.at, this.at));
      this.from = null;
      this.block(null);
    } else if (event.key === 'Escape') {
      this.from = null;
      this.block(null);
    } else return;
    event.preventDefault();
  }

  down(event) {
    const place = this.place(event.target);
    if (!place || event.button !== 0) return;
    this.drag = { from: event.shiftKey ? this.at : place, to: place, mouse: event.pointerType === 'mouse', start: place };
    if (this.drag.mouse) event.preventDefault();
  }

  over(event) {
    const place = this.place(event.target);
    if (!place) return;
    if (this.drag && this.drag.mouse) {
      this.drag.to = place;
      this.block(this.span(this.drag.from, place));
    }
    this.look(place);
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    const place = this.place(event.target);
    if (!place || (!drag.mouse && String(place) !== String(drag.start))) return this.block(null);
    this.from = null;
    this.block(null);
    this.go(...place);
    this.choose(this.span(drag.from, place));
  }
}
