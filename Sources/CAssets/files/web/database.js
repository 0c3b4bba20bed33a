// The database: statements, slow calls with plans, connections and open transactions, every three seconds.
(() => {
  'use strict';
  const { $, element, answer, refuse, count, plural } = window.aurumQuestions;
  const EVERY_MILLISECONDS = 3000;
  const SLOW = 200;
  // What stands in the lists now: they are not built again while somebody reads a plan.
  let slowest = -1;
  let planned = -1;

  const number = (value) => element('td', 'num', value ? count.format(value) : '0');
  function length(milliseconds) {
    if (milliseconds < 1) return `${milliseconds.toFixed(2)} ms`;
    if (milliseconds < 1000) return `${Math.round(milliseconds * 10) / 10} ms`;
    return milliseconds < 120000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${Math.round(milliseconds / 60000)} min`;
  }
  const took = (milliseconds) => element('td', 'num', length(milliseconds));
  const fill = (id, rows) => {
    $(id).replaceChildren(...rows);
    if ($(`no-${id}`)) $(`no-${id}`).hidden = rows.length > 0;
  };
  const line = (...cells) => {
    const row = element('tr');
    row.append(...cells);
    return row;
  };
  const named = (errors) => Object.entries(errors).map(([name, times]) => `${name} ${count.format(times)}`).join(', ');

  function failed(window) {
    const percent = (window.fault_rate * 100).toFixed(window.fault_rate && window.fault_rate < 0.01 ? 2 : 1);
    const names = named(window.errors);
    return element('td', '', `${percent} % of ${count.format(window.calls)}${names ? ` (${names})` : ''}`);
  }
  function time(text) {
    const cell = element('td');
    const made = element('time', '', new Date(text).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'medium' }));
    made.dateTime = text;
    cell.append(made);
    return cell;
  }
  function details(call) {
    const cell = element('td');
    if (!call.sql) {
      cell.textContent = 'No statement ran.';
      return cell;
    }
    const whole = element('details');
    whole.append(element('summary', '', `${length(call.sql_ms)} of ${plural(call.statements, 'statement', 'statements')}`));
    const text = [call.sql];
    if (call.parameters.length) text.push(`Parameters: ${call.parameters.join(', ')}`);
    if (call.trace_id) text.push(`Trace: ${call.trace_id}`);
    text.push(call.plan || 'No plan was taken: one a minute for each statement.');
    const shown = element('pre', 'json', text.join('\n\n'));
    shown.tabIndex = 0;
    shown.setAttribute('aria-label', `Slowest statement of ${call.statement} and its plan`);
    whole.append(shown);
    cell.append(whole);
    return cell;
  }
  function slowRow(call) {
    const name = element('th', '', call.statement);
    if (call.outcome !== 'ok') name.append(` (${call.outcome})`);
    return line(
      time(call.at), name, took(call.duration_ms), took(call.pool_ms + call.lock_ms), took(call.engine_ms),
      took(call.commit_ms), number(call.rows), details(call),
    );
  }

  async function load() {
    const asked = new URLSearchParams({ sort: $('sort').value, slow: SLOW });
    const all = await (await answer(`/v1/database?${asked}`)).json();
    $('engine').textContent = all.engine === 'postgres' ? 'PostgreSQL' : 'SQLite';
    fill('pool', [line(
      number(all.pool.connections), number(all.pool.max), number(all.pool.in_use), number(all.pool.waiting),
      number(all.pool.acquire_timeouts), failed(all.errors['1m']), failed(all.errors['5m']),
    )]);
    fill('statements', all.statements.map((one) => line(
      element('th', '', one.name), element('td', '', one.kind), number(one.calls), took(one.total_ms), took(one.p50_ms),
      took(one.p95_ms), took(one.max_ms), number(one.rows), number(one.slow), element('td', '', named(one.errors)),
    )));
    $('shown').textContent = plural(all.statements_total, 'statement', 'statements');
    const newest = all.slow.length ? all.slow[0].serial : -1;
    const plans = all.slow.filter((call) => call.plan).length;
    if (newest !== slowest || plans !== planned || !all.slow.length) fill('slow', all.slow.map(slowRow));
    [slowest, planned] = [newest, plans];
    $('threshold').textContent = `Calls of more than ${length(all.slow_after_ms)}, newest first`;
    fill('repeated', all.n_plus_one.map((one) => line(
      element('th', '', one.route), element('td', '', one.statement), number(one.requests), number(one.runs_max),
      time(one.last_at), element('td', '', one.sql),
    )));
    fill('open', all.open.map((one) => line(
      element('th', '', one.name), element('td', '', one.kind), took(one.age_ms), number(one.statements),
    )));
    $('as-of').textContent = `As of ${new Date().toLocaleTimeString('en-US', { hour12: false })}`;
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
  $('wish').addEventListener('submit', (submit) => submit.preventDefault());
  $('sort').addEventListener('change', () => attempt(load));
  const watch = async () => {
    if (!document.hidden) await attempt(load);
    setTimeout(watch, EVERY_MILLISECONDS);
  };
  watch();
})();
