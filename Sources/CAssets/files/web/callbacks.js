// Callbacks on the page of uploads: templates, and deliveries with a filter, every attempt, and another try.
(() => {
  'use strict';
  const { $, element, answer, plural } = window.aurumQuestions;
  const { line, fill, number, badge, moment, desk } = window.aurumLists;
  const { attempt, button, story } = desk('callback-refusal');
  const PAGE = 50;
  let listed = [];
  let next = null;

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

  function deliveryRow(one) {
    const actions = element('td');
    if (one.state === 'dead' || one.state === 'refused') {
      actions.append(button('Send again', one.id.slice(-8), async () => {
        await send(`/v1/callbacks/deliveries/${one.id}/redrive`, 'POST', {});
        await load();
      }));
    }
    return line(
      element('th', '', one.id.slice(-8)), element('td', '', one.network), element('td', '', one.event),
      badge(one.state), moment(one.occurred_at), element('td', 'num', one.value === undefined ? '' : `${one.value} ${one.currency}`),
      number(one.attempts),
      story(one.reason || 'Attempts', `/v1/callbacks/deliveries/${one.id}`,
        (all) => ({ request: all.request, history: all.history }), 'The request and every attempt as JSON'), actions,
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
