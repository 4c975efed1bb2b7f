// Switches between dark and light, and remembers it: until then it is as the browser asks for.
const root = document.documentElement
const dark = root.dataset.aaTheme != "light"
root.dataset.aaTheme = dark ? "light" : "dark"
try { localStorage.setItem("astroanomaly-theme", root.dataset.aaTheme) } catch (e) {}
