// Jobs: counts, workers and schedules every three seconds; a list with a filter, redrive and cancel.
(() => {
  'use strict';
  const { $, element, answer, refuse, count, plural, remember } = window.aurumQuestions;
  const EVERY_MILLISECONDS = 3000;
  const PAGE = 50;
  let listed = [];
  // The filter of the list that is shown; what is typed counts once it is sent.
  let applied = new URLSearchParams();

  const time = (text) => {
    if (!text) return element('td', '', '');
    const cell = element('td');
    const made = element('time', '', new Date(text).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'medium' }));
    made.dateTime = text;
    cell.append(made);
    return cell;
  };
  const number = (value) => element('td', 'num', value ? count.format(value) : '0');
  const fill = (id, rows) => {
    $(id).replaceChildren(...rows);
    $(`no-${id === 'list' ? 'jobs' : id}`).hidden = rows.length > 0;
  };
  const line = (...cells) => {
    const row = element('tr');
    row.append(...cells);
    return row;
  };

  // ---- what everybody wants to know

  function seconds(value) {
    if (value < 90) return `${Math.round(value)} s`;
    return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
  }
  async function overview() {
    const all = await (await answer('/v1/jobs/overview')).json();
    const away = (all.unavailable || []).length > 0;
    fill('queues', all.queues.map((queue) => line(
      element('th', '', queue.home === 'redis' ? `${queue.type} (on Redis)` : queue.type), number(queue.due), number(queue.scheduled), number(queue.waiting),
      number(queue.parked), number(queue.running), number(queue.dead),
      element('td', '', queue.due ? seconds(queue.lag_seconds || 0) : ''),
    )));
    fill('workers', all.workers.map((one) => line(
      element('th', '', one.worker.slice(0, 12)), number(one.running), time(one.lease_until),
    )));
    fill('schedules', all.schedules.map((one) => line(
      element('th', '', one.name), element('td', '', one.type), element('td', '', one.plan),
      element('td', '', one.missed), time(one.next_at),
    )));
    $('types').replaceChildren(...all.queues.map((queue) => {
      const option = element('option');
      option.value = queue.type;
      return option;
    }));
    $('as-of').textContent = `As of ${new Date(all.now).toLocaleTimeString('en-US', { hour12: false })}`
      + (away ? ', without the jobs on Redis, which cannot be reached' : '');
  }

  // ---- the list

  const wish = () => {
    const made = new URLSearchParams();
    if ($('state').value) made.set('state', $('state').value);
    if ($('type').value.trim()) made.set('type', $('type').value.trim());
    return made;
  };
  function act(label, path, job) {
    const button = element('button', 'ghost', label);
    button.type = 'button';
    button.setAttribute('aria-label', `${label} ${job.type} ${job.id}`);
    button.addEventListener('click', () => attempt(async () => {
      button.disabled = true;
      try {
        await answer(path, { method: 'POST' });
        await load();
      } finally {
        button.disabled = false;
      }
    }));
    return button;
  }
  function story(job) {
    const cell = element('td');
    const last = job.failures[job.failures.length - 1];
    const said = [job.dead_reason, last && `${last.code}${last.detail ? `: ${last.detail}` : ''}`, job.note,
      job.progress !== undefined && `${Math.round(job.progress * 100)} %`, job.cancel_requested && 'told to stop']
      .filter(Boolean).join(' · ');
    const whole = element('details');
    whole.append(element('summary', '', said || 'Details'));
    whole.addEventListener('toggle', () => {
      if (!whole.open || whole.querySelector('pre')) return;
      const json = element('pre', 'json', JSON.stringify(job, null, 2));
      json.tabIndex = 0;
      json.setAttribute('aria-label', 'The whole job as JSON');
      whole.append(json);
    });
    cell.append(whole);
    return cell;
  }
  function row(job) {
    const state = element('td');
    state.append(element('span', 'state', job.state));
    const actions = element('td');
    if (job.state === 'dead') actions.append(act('Redrive', `/v1/jobs/${job.id}/redrive`, job));
    else if (!['done', 'cancelled'].includes(job.state) && !job.cancel_requested) {
      actions.append(act('Cancel', `/v1/jobs/${job.id}/cancel`, job));
    }
    return line(
      element('th', '', job.id.slice(-8)), element('td', '', job.type), state, element('td', '', job.priority),
      time(job.due_at), element('td', 'num', `${job.attempt} of ${job.attempts_max}`), story(job), actions,
    );
  }
  async function load(older = false) {
    const asked = new URLSearchParams(applied);
    asked.set('limit', PAGE);
    if (older && listed.length) asked.set('before', listed[listed.length - 1].id);
    const { jobs } = await (await answer(`/v1/jobs?${asked}`)).json();
    listed = older ? listed.concat(jobs) : jobs;
    fill('list', listed.map(row));
    $('more').hidden = jobs.length < PAGE;
    $('shown').textContent = plural(listed.length, 'job', 'jobs');
    $('redrive-all').hidden = applied.get('state') !== 'dead' || !listed.length;
  }
  async function attempt(work) {
    try {
      await work();
      $('refusal').hidden = true;
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      refuse($('refusal'), refusal);
    }
  }

  $('wish').addEventListener('submit', (submit) => {
    submit.preventDefault();
    applied = wish();
    remember(applied, false);
    attempt(() => load());
  });
  $('state').addEventListener('change', () => $('wish').requestSubmit());
  $('more').addEventListener('click', () => attempt(() => load(true)));
  $('redrive-all').addEventListener('click', () => attempt(async () => {
    const type = applied.get('type');
    await answer('/v1/jobs/redrive', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(type ? { type } : {}),
    });
    await load();
    await overview();
  }));
  function restore() {
    const from = new URLSearchParams(location.search);
    $('state').value = from.get('state') || '';
    $('type').value = from.get('type') || '';
    applied = wish();
  }
  window.addEventListener('popstate', () => {
    restore();
    attempt(() => load());
  });
  restore();
  attempt(() => load());
  const watch = async () => {
    if (!document.hidden) await attempt(overview);
    setTimeout(watch, EVERY_MILLISECONDS);
  };
  watch();
})();
