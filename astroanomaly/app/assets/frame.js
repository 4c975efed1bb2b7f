// Finds the address under which this browser reaches the kernel, and opens it in the frame above.
(() => {
  const {port, query, fixed} = __VALUES__
  const place = document.getElementById(__FRAME__)
  if (!place) return
  const {protocol, hostname, origin, ancestorOrigins} = window.location
  const local = ["localhost", "127.0.0.1"].includes(hostname) ? hostname : "127.0.0.1"
  let address = fixed || `http://${local}:${port}/`
  const loopback = local == hostname || hostname == "[::1]" || !["http:", "https:"].includes(protocol)
  if (!fixed && !loopback) {  // the page comes from elsewhere: so must the app, through the proxy of its server
    let base = document.body.dataset.baseUrl
    try { base = JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl } catch (e) {}
    if (base) address = new URL(`${base.replace(/\/+$/, "")}/proxy/${port}/`, origin).href
  }
  const frame = place.querySelector("iframe"), link = place.querySelector("a")
  link.href = address
  window.addEventListener("message", ({source, data}) => {  // the key has opened the frame and nothing more: a pass came
    if (source == frame.contentWindow && data && typeof data.astroanomaly == "string")
      link.href = `${address}?token=${encodeURIComponent(data.astroanomaly)}`
  })
  // who may show the app again, when its cookie lets it in; a browser that does not tell who is around knows of nobody
  const around = ancestorOrigins ? [origin, ...ancestorOrigins] : window == window.top ? [origin] : ["*"]
  frame.src = address + query + around.map((one) => `&from=${encodeURIComponent(one)}`).join("")
})()
