// Apple's postbacks, for the range that the page shows: what won, and what the values mean by the apps' schemas.
(() => {
  'use strict';
  const { $, element, answer } = window.aurumQuestions;
  const POLL_MILLISECONDS = 30000;
  const DAYS_MAX = 400;
  const NAMES = { campaign: 'Campaign', network: 'Network', app: 'App', window: 'Window', day: 'Day' };
  const WINDOWS = ['Days 0–2', 'Days 3–7', 'Days 8–35'];
  const count = new Intl.NumberFormat('en-US');
  const share = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 1 });
  const part = $('postbacks');
  let timer = 0;
  let asked = 0;

  const cell = (text) => element('td', 'num', text);

  // Whole minor units in the currency's own digits.
  function money(minor, currency) {
    const form = new Intl.NumberFormat('en-US', { style: 'currency', currency });
    return form.format(minor / 10 ** form.resolvedOptions().maximumFractionDigits);
  }

  function name(line, by) {
    if (by === 'window') return WINDOWS[line.window] || `Window ${line.window}`;
    if (by === 'app') return String(line.app_id);
    if (by === 'campaign') return `${line.network} ${line.campaign || '(none)'}`;
    return line[by] || '(none)';
  }

  function range(line) {
    if (line.revenue.length === 0) return '—';
    return line.revenue.map(({ currency, low_minor: low, mid_minor: mid, high_minor: high }) => (low === high
      ? money(mid, currency) : `${money(mid, currency)} (${money(low, currency)}–${money(high, currency)})`)).join(', ');
  }

  function events(line) {
    const found = Object.entries(line.events).sort(([one], [other]) => (one < other ? -1 : 1));
    return found.map(([event, times]) => `${event} ${count.format(times)}`).join(', ') || '—';
  }

  function row(line, title) {
    const made = element('tr');
    const first = element('th', '', title);
    first.scope = 'row';
    made.append(first, cell(count.format(line.postbacks)), cell(count.format(line.won)),
      cell(count.format(line.conversions)), cell(count.format(line.decoded)),
      cell(line.share_without_value === null ? '—' : share.format(line.share_without_value)),
      element('td', '', events(line)), cell(range(line)));
    return made;
  }

  function show(report) {
    const by = report.group_by;
    $('postbacks-name').textContent = NAMES[by];
    $('postbacks-rows').replaceChildren(...report.lines.map((line) => row(line, name(line, by))));
    if (report.lines.length > 1) $('postbacks-rows').append(row(report.totals, 'Total'));
    $('postbacks-table').hidden = report.lines.length === 0;
    const gaps = report.totals.not_decoded;
    const unnamed = gaps.no_schema + gaps.not_in_schema;
    const notes = [`${count.format(report.totals.postbacks)} postbacks`];
    if (unnamed > 0) notes.push(`${count.format(unnamed)} with a value that no schema names`);
    if (report.totals.uncertain > 0) notes.push(`${count.format(report.totals.uncertain)} near a change of schema`);
    if (report.unread > 0) notes.push(`${count.format(report.unread)} not read yet`);
    if (report.is_cut) notes.push('the largest lines only');
    $('postbacks-note').textContent = report.lines.length === 0
      ? 'No counted postback in this range.' : `${notes.join('; ')}. Values are not signed.`;
    part.dataset.state = 'ready';
  }

  async function ask() {
    clearTimeout(timer);
    asked += 1;
    const mine = asked;
    const days = Number($('range').value);
    const span = Number.isFinite(days) && days > 0 ? Math.min(days, DAYS_MAX) : DAYS_MAX;
    try {
      const by = encodeURIComponent($('postbacks-by').value);
      const report = await (await answer(`/v1/attribution/postbacks/summary?group_by=${by}&days=${span}`)).json();
      if (mine === asked) show(report);
    } catch (refusal) {
      if (refusal.name === 'AbortError' || mine !== asked) return;
      $('postbacks-note').textContent = refusal.message;
      part.dataset.state = 'failed';
    }
    if (mine === asked) timer = setTimeout(ask, POLL_MILLISECONDS);
  }

  $('range').addEventListener('change', ask);
  $('postbacks-by').addEventListener('change', ask);
  $('postbacks-wish').addEventListener('submit', (submit) => submit.preventDefault());
  ask();
})();
