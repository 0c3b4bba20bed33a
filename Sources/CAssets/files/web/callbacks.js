// Callbacks on the page of uploads: templates, and deliveries with a filter, every attempt, and another try.
(() => {
  'use strict';
  const { $, element, answer, refuse, count, plural } = window.aurumQuestions;
  const PAGE = 50;
  let listed = [];
  let next = null;

  const line = (...cells) => {
    const row = element('tr');
    row.append(...cells);
    return row;
  };
  const fill = (id, rows) => {
    $(id).replaceChildren(...rows);
    $(`no-${id}`).hidden = rows.length > 0;
  };
  const badge = (text) => {
    const cell = element('td');
    cell.append(element('span', 'state', text));
    return cell;
  };
  async function attempt(work) {
    try {
      await work();
      $('callback-refusal').hidden = true;
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      refuse($('callback-refusal'), refusal);
    }
  }
  function button(label, name, work) {
    const made = element('button', 'ghost', label);
    made.type = 'button';
    made.setAttribute('aria-label', `${label} ${name}`);
    made.addEventListener('click', () => attempt(async () => {
      made.disabled = true;
      try {
        await work(made);
      } finally {
        made.disabled = false;
      }
    }));
    return made;
  }
  const send = (path, method, body) => answer(path, {
    method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
  });

  // ---- templates

  function row(one) {
    const name = `${one.network} ${one.event}`;
    const actions = element('td');
    actions.append(
      button('Preview', name, async () => {
        const said = await (await send(`/v1/callbacks/${one.id}/test`, 'POST', { send: false })).json();
        $('callback-preview').textContent = [`${said.request.method} ${said.request.url}`, said.request.body]
          .filter(Boolean).join('\n');
        $('callback-preview').hidden = false;
      }),
      button(one.enabled ? 'Disable' : 'Enable', name, async () => {
        await send(`/v1/callbacks/${one.id}`, 'PATCH', { enabled: !one.enabled });
        await templates();
      }),
    );
    return line(
      element('th', '', one.network), element('td', '', one.event), badge(one.enabled ? 'enabled' : 'disabled'),
      element('td', '', one.secret_set ? 'signed' : 'unsigned'), element('td', '', `${one.method} ${one.url}`), actions,
    );
  }
  async function templates() {
    const { callbacks } = await (await answer('/v1/callbacks')).json();
    fill('callbacks', callbacks.map(row));
  }

  // ---- deliveries

  function story(one) {
    const cell = element('td');
    const whole = element('details');
    whole.append(element('summary', '', one.reason || 'Attempts'));
    whole.addEventListener('toggle', () => attempt(async () => {
      if (!whole.open || whole.querySelector('pre')) return;
      const all = await (await answer(`/v1/callbacks/deliveries/${one.id}`)).json();
      const json = element('pre', 'json', JSON.stringify({ request: all.request, history: all.history }, null, 2));
      json.tabIndex = 0;
      json.setAttribute('aria-label', 'The request and every attempt as JSON');
      whole.append(json);
    }));
    cell.append(whole);
    return cell;
  }
  function deliveryRow(one) {
    const time = element('td');
    const made = element('time', '', new Date(one.occurred_at).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'short' }));
    made.dateTime = one.occurred_at;
    time.append(made);
    const actions = element('td');
    if (one.state === 'dead' || one.state === 'refused') {
      actions.append(button('Send again', one.id.slice(-8), async () => {
        await send(`/v1/callbacks/deliveries/${one.id}/redrive`, 'POST', {});
        await load();
      }));
    }
    return line(
      element('th', '', one.id.slice(-8)), element('td', '', one.network), element('td', '', one.event),
      badge(one.state), time, element('td', 'num', one.value === undefined ? '' : `${one.value} ${one.currency}`),
      element('td', 'num', count.format(one.attempts)), story(one), actions,
    );
  }
  async function load(older = false) {
    const asked = new URLSearchParams({ limit: PAGE });
    if ($('callback-state').value) asked.set('state', $('callback-state').value);
    if (older && next) asked.set('before', next);
    const page = await (await answer(`/v1/callbacks/deliveries?${asked}`)).json();
    listed = older ? listed.concat(page.deliveries) : page.deliveries;
    next = page.next;
    fill('deliveries', listed.map(deliveryRow));
    $('more-deliveries').hidden = !next;
    $('deliveries-shown').textContent = plural(listed.length, 'delivery', 'deliveries');
  }

  $('callback-wish').addEventListener('submit', (submit) => submit.preventDefault());
  $('callback-state').addEventListener('change', () => attempt(() => load()));
  $('more-deliveries').addEventListener('click', () => attempt(() => load(true)));
  attempt(async () => {
    await templates();
    await load();
  });
})();
