// The menus of the header open without a script; this one closes them by Escape and by a click beside them.
(() => {
  'use strict';
  const open = () => document.querySelector('.menu[open]');
  document.addEventListener('click', (click) => {
    for (const menu of document.querySelectorAll('.menu[open]')) if (!menu.contains(click.target)) menu.open = false;
  });
  document.addEventListener('keydown', (key) => {
    const menu = open();
    if (key.key !== 'Escape' || !menu) return;
    menu.open = false;
    menu.querySelector('summary').focus();
  });
})();
