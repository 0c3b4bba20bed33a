// The measurement choice at the foot of public pages. Global Privacy Control wins over the switch.
(() => {
  'use strict';
  if (!window.aurum) return;
  const text = document.getElementById('privacy-state');
  const button = document.getElementById('privacy-switch');
  const show = () => {
    const choice = window.aurum.consent();
    const denied = choice.analytics === 'denied';
    button.hidden = choice.gpc;
    if (choice.gpc) text.textContent = 'Your browser asks not to be tracked, so no identifier is stored.';
    else if (denied) text.textContent = 'Measurement is off.';
    else text.textContent = 'This page measures which campaign brought you.';
    button.textContent = denied ? 'Switch measurement on' : 'Switch measurement off';
  };
  button.addEventListener('click', () => {
    const next = window.aurum.consent().analytics === 'denied' ? 'granted' : 'denied';
    window.aurum.consent({ analytics: next, ads: next });
    show();
  });
  document.getElementById('privacy').hidden = false;
  show();
})();
