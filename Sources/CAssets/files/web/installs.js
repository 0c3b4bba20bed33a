// Installs and re-engagements by campaign, for the range that the page shows: what led to them, and what was rejected.
(() => {
  'use strict';
  const { $, element, answer } = window.aurumQuestions;
  const POLL_MILLISECONDS = 10000;
  const DAY_MILLISECONDS = 86400000;
  const count = new Intl.NumberFormat('en-US');
  const part = $('installs');
  let timer = 0;

  const cell = (value) => element('td', 'num', count.format(value));

  // Whole days of UTC: today and the days before it.
  function from() {
    const days = Number($('range').value);
    if (!Number.isFinite(days) || days <= 0) return null;
    const today = Math.floor(Date.now() / DAY_MILLISECONDS);
    return new Date((today - days + 1) * DAY_MILLISECONDS).toISOString().slice(0, 10);
  }

  function show(report) {
    $('installs-rows').replaceChildren(...report.lines.map((line) => {
      const made = element('tr');
      const first = element('th', '', line.campaign === null ? 'No campaign' : line.campaign);
      first.scope = 'row';
      made.append(first, cell(line.installs), cell(line.by_view), cell(line.reinstalls), cell(line.suspect),
        cell(line.rejected));
      return made;
    }));
    $('installs-table').hidden = report.lines.length === 0;
    const { installs, organic } = report.totals;
    const waiting = report.waiting > 0 ? `; ${count.format(report.waiting)} wait` : '';
    $('installs-note').textContent = report.lines.length === 0
      ? `No install in this range${waiting}.`
      : `${count.format(installs)} installs, ${count.format(organic)} of them organic${waiting}`;
    part.dataset.state = 'ready';
  }

  // People who came back to the app by a click or a link, after days without it.
  function showBack(report) {
    $('reengagements-rows').replaceChildren(...report.lines.map((line) => {
      const made = element('tr');
      const first = element('th', '', line.campaign === null ? 'No campaign' : line.campaign);
      first.scope = 'row';
      made.append(first, cell(line.re_engagements), cell(line.by_view));
      return made;
    }));
    $('reengagements-table').hidden = report.lines.length === 0;
    const total = report.outcomes.re_engagement;
    $('reengagements-note').textContent = `${count.format(total)} re-engagements; `
      + `${count.format(report.outcomes.session_before)} opens by a link of people who were not away`;
    const unknown = report.outcomes.history_unknown;
    if (unknown > 0) {
      $('reengagements-note').textContent += `; ${count.format(unknown)} of people of whom it is not known`;
    }
  }

  async function ask() {
    clearTimeout(timer);
    try {
      const start = from();
      const query = start === null ? '' : `?from=${start}`;
      const installs = await answer(`/v1/attribution/installs/campaigns${query}`);
      const back = await answer(`/v1/attribution/re-engagements/campaigns${query}`);
      show(await installs.json());
      showBack(await back.json());
      timer = setTimeout(ask, POLL_MILLISECONDS);
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      $('installs-note').textContent = refusal.message;
      part.dataset.state = 'failed';
      timer = setTimeout(ask, POLL_MILLISECONDS);
    }
  }

  $('range').addEventListener('change', ask);
  $('installs-wish').addEventListener('submit', async (submit) => {
    submit.preventDefault();
    try {
      const start = from();
      await answer('/v1/attribution/installs/recompute', {
        method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(start === null ? {} : { from: start }) });
      $('installs-note').textContent = 'Being decided anew; the page Jobs says how far it is.';
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('installs-note').textContent = refusal.message;
    }
  });
  ask();
})();
