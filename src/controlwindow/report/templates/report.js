'use strict';
// What a reader can do with the page: sort and filter its tables, take one along as CSV, open what is folded. It reads
// what the page shows and nothing else, sends nothing, and the page is whole without it.
(() => {
  const MINUS = '\u2212', FEW = 8;
  const words = (cell) => cell.textContent.replace(/\s+/g, ' ').trim();
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text;
    return element;
  };

  // A cell's value, without the interval behind it; null where it is no number.
  const valueOf = (cell) => {
    const shown = words(cell).replaceAll(MINUS, '-').replaceAll(',', '');
    const found = shown.match(/^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?/i);
    return found ? Number(found[0]) : null;
  };

  const compare = (one, other, up) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    // What is missing comes last, whichever way is up.
    if ((a === null) !== (b === null)) return a === null ? 1 : -1;
    const order = a === null ? words(one).localeCompare(words(other)) : a - b;
    return up ? order : -order;
  };

  const quoted = (text) => {
    const plain = text.replaceAll(MINUS, '-');
    // A spreadsheet takes these for formulas, and the page shows text of others.
    const safe = /^[=@\t\r]/.test(plain) || (/^[+-]./.test(plain) && !/^[+-][\d.]/.test(plain)) ? `'${plain}` : plain;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };

  const bounds = (cell) => {
    const interval = cell.querySelector('.interval');
    const found = interval && words(interval).match(/^\[(.+), (.+)\]$/);
    return found ? found.slice(1).map((end) => (/\d/.test(end) ? end : '')) : null;
  };

  const asCsv = (heads, rows) => {
    const wide = heads.map((_, column) => rows.some((row) => bounds(row.cells[column])));
    const names = heads.flatMap((head, column) => {
      const name = head.dataset.name;
      return wide[column] ? [name, `${name}, low`, `${name}, high`] : [name];
    });
    const lines = rows.map((row) => heads.flatMap((_, column) => {
      const cell = row.cells[column], ends = bounds(cell);
      if (!wide[column]) return [words(cell)];
      return [ends ? words(cell).split(' [')[0] : words(cell), ...(ends || ['', ''])];
    }));
    return [names, ...lines].map((line) => line.map(quoted).join(',')).join('\r\n') + '\r\n';
  };

  const save = (text, name) => {
    const link = make('a');
    // The mark tells spreadsheets that this is UTF-8.
    link.href = URL.createObjectURL(new Blob(['\ufeff', text], {type: 'text/csv'}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').slice(0, 60);

  const equip = (table, number) => {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    const plain = rows.every((row) => row.cells.length === heads.length);
    if (heads.length < 2 || rows.length < 2 || !plain) return;
    const caption = table.caption ?? table.createCaption();
    const title = words(caption) || words(table.closest('section')?.querySelector('h2') ?? document.querySelector('h1'));
    const tools = make('span', 'tools');
    const status = make('span', 'count');
    status.setAttribute('role', 'status');
    if (rows.length >= FEW) {
      const field = make('input');
      field.type = 'search';
      field.placeholder = 'filter';
      field.setAttribute('aria-label', `Filter the rows of: ${title}`);
      field.addEventListener('input', () => {
        const asked = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        for (const row of rows) row.hidden = !asked.every((word) => words(row).toLowerCase().includes(word));
        const left = rows.filter((row) => !row.hidden).length;
        status.textContent = asked.length ? `${left} of ${rows.length}` : '';
      });
      tools.append(field, status);
    }
    const button = make('button', '', 'CSV');
    button.type = 'button';
    button.setAttribute('aria-label', `Save as CSV: ${title}`);
    button.addEventListener('click', () => {
      const shown = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.hidden);
      save(asCsv(heads, shown), `${slug(`${document.title} ${title}`)}-${number}.csv`);
    });
    tools.append(button);
    caption.append(tools);
    for (const [column, head] of heads.entries()) {
      head.dataset.name = words(head);
      const sorter = make('button', 'sort');
      sorter.type = 'button';
      sorter.append(...head.childNodes);
      head.append(sorter);
      sorter.addEventListener('click', () => {
        const up = head.getAttribute('aria-sort') !== 'ascending';
        for (const other of heads) other.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
        const sorted = [...rows].sort((a, b) => compare(a.cells[column], b.cells[column], up));
        table.tBodies[0].append(...sorted);
      });
    }
  };

  [...document.querySelectorAll('main table')].forEach(equip);

  // A link into something folded opens it.
  const unfold = () => {
    let found = null;
    try { found = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { return; }
    for (let part = found; part; part = part.parentElement) if (part.tagName === 'DETAILS') part.open = true;
    found?.scrollIntoView();
  };
  addEventListener('hashchange', unfold);
  if (location.hash) unfold();

  for (const heading of document.querySelectorAll('h3.folds')) {
    const folded = [...heading.parentElement.children].filter((part) => part.tagName === 'DETAILS');
    if (folded.length < 2) continue;
    const button = make('button', 'fold', 'open all');
    button.type = 'button';
    button.addEventListener('click', () => {
      const open = folded.some((part) => !part.open);
      for (const part of folded) part.open = open;
      button.textContent = open ? 'close all' : 'open all';
    });
    heading.append(' ', button);
  }
})();
