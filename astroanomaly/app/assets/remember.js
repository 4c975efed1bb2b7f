// Remembers who sits here, for the next visit; when the server is started under another name, that begins anew.
const kept = encodeURIComponent(JSON.stringify([usual, bus.annotator]))
document.cookie = `${name}=${kept}; path=/; max-age=31536000; samesite=strict`
