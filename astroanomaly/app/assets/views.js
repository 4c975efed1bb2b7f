// Hides the view that is left as soon as the tab of another is lit, until the server has laid that one out.
const {el} = body.document.views_manager.find_one(body)
const name = views.labels[views.active]
if (name == bus.view) delete el.dataset.opening
else el.dataset.opening = `opening ${name} …`
