// What pages of lists share: rows and their cells, and work whose refusal is shown.
window.aurumLists = (() => {
  'use strict';
  const { $, element, answer, refuse, count } = window.aurumQuestions;

  const line = (...cells) => {
    const row = element('tr');
    row.append(...cells);
    return row;
  };
  const fill = (id, rows) => {
    $(id).replaceChildren(...rows);
    $(`no-${id}`).hidden = rows.length > 0;
  };
  const number = (value) => element('td', 'num', count.format(value || 0));
  const badge = (text) => {
    const cell = element('td');
    cell.append(element('span', 'state', text));
    return cell;
  };
  // A cell with a moment; empty without one.
  const moment = (text) => {
    const cell = element('td');
    if (!text) return cell;
    const made = element('time', '', new Date(text).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'short' }));
    made.dateTime = text;
    cell.append(made);
    return cell;
  };

  // The work of one part of a page: what the server refuses is shown in the element `refusal`.
  function desk(refusal) {
    async function attempt(work) {
      try {
        await work();
        $(refusal).hidden = true;
      } catch (error) {
        if (error.name === 'AbortError') return;
        refuse($(refusal), error);
      }
    }
    // `about` says to those who do not see the row what the button is for.
    function button(label, about, work) {
      const made = element('button', 'ghost', label);
      made.type = 'button';
      made.setAttribute('aria-label', `${label} ${about}`);
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
    // A cell that opens to what `path` answers, as far as `pick` takes it, read when it is first opened.
    function story(summary, path, pick, label) {
      const cell = element('td');
      const whole = element('details');
      whole.append(element('summary', '', summary));
      whole.addEventListener('toggle', () => attempt(async () => {
        if (!whole.open || whole.querySelector('pre')) return;
        const all = await (await answer(path)).json();
        const json = element('pre', 'json', JSON.stringify(pick(all), null, 2));
        json.tabIndex = 0;
        json.setAttribute('aria-label', label);
        whole.append(json);
      }));
      cell.append(whole);
      return cell;
    }
    return { attempt, button, story };
  }
  return { line, fill, number, badge, moment, desk };
})();
