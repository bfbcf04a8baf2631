"""The colours of retention: dark is faded, bright is fresh, in even steps for every kind of eye."""

# Cividis (Nunez, Anderton & Renslow, 2018, doi:10.1371/journal.pone.0199239): perceptually uniform,
# and the same to people with and without colour vision deficiency; 32 of its 256 colours.
CIVIDIS = (
    "#00224e", "#00285b", "#002e6a", "#053371", "#1c396f", "#293f6e", "#33446d", "#3c4a6c",
    "#45506c", "#4d556c", "#555b6d", "#5c616e", "#646770", "#6b6d72", "#727274", "#787877",
    "#807f78", "#888578", "#908b78", "#979177", "#a09875", "#a89e73", "#b0a571", "#b9ab6d",
    "#c2b369", "#cbb965", "#d3c05f", "#dcc859", "#e6d051", "#efd748", "#f8df3c", "#fee838",
)  # fmt: skip
