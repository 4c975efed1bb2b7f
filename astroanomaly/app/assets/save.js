// Saves a file that came from the server.
const {name, mime, data} = bus.file
const url = URL.createObjectURL(new Blob([data], {type: mime}))
const link = document.createElement("a")
link.href = url
link.download = name
document.body.appendChild(link)
link.click()
link.remove()
setTimeout(() => URL.revokeObjectURL(url), 10000)
