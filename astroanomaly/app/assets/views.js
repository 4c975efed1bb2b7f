// Asks for the view of a tab that was clicked, hides what is left until the server has opened it, and lights its tab.
const {el} = body.document.views_manager.find_one(body)
if (cb_obj === views) {
  if (el.dataset.following !== "") bus.asked = [bus.asked[0] + 1, views.labels[views.active]]
} else if (bus.opened[0] == bus.asked[0]) {  // else this tells of an earlier click
  el.dataset.following = ""
  views.active = views.labels.indexOf(bus.opened[1])
  delete el.dataset.following
}
if (bus.opened[0] == bus.asked[0]) delete el.dataset.opening
else el.dataset.opening = `opening ${bus.asked[1]} …`
