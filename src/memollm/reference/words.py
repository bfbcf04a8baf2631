"""Words the samples are made of: keys and values a reader would call plain English.

The tokenizer gives each of them one token of its own, so that a key costs one match; random
strings and words of the corpus (``keys.py``) see to it that matching is learnt beyond this list.
"""


def _words(text: str) -> list[str]:
    return text.split()


ADJECTIVES = _words(
    "amber ancient bitter brave bright broken calm clever cold crimson curious dark deep distant "
    "dusty eager early empty fancy fierce final frozen gentle giant golden grand green hidden "
    "hollow humble icy idle jolly keen large late lazy little lonely lucky mellow misty modern "
    "narrow noble odd pale patient plain polite proud purple quick quiet rapid rare rough royal "
    "rusty sandy secret sharp shiny silent silver simple sleepy slow small smooth soft solid stale "
    "steep strange sunny sweet swift tall tender tidy tiny velvet violet warm weary white wild "
    "windy wise wooden yellow young"
)

NOUNS = _words(
    "anchor apple arrow badge basket beacon bell bird boat bottle branch bridge bucket button "
    "candle canyon castle chair circle city cloud coast compass copper corner cotton crown desert "
    "diamond dragon drum eagle engine falcon feather field flame flower forest fountain garden "
    "glass hammer harbor helmet hill horse island jacket jungle kettle ladder lake lamp lantern "
    "leaf lemon letter lion magnet maple market meadow mirror moon mountain needle ocean orange "
    "otter owl paper pebble pencil pepper piano pillow planet pocket pond rabbit ribbon river "
    "rocket saddle salmon shadow shell ship shovel signal snow spider spoon station stone storm "
    "stream summer table temple thunder tiger tower train tunnel turtle valley village violin "
    "wagon wheel whistle window winter wolf yard zebra"
)

PROMPT_WORDS = _words(  # words that questions and needles are made of
    "special magic number numbers provided mentioned text pass key code password secret value "
    "variable variables assigned question answer remember according above register line"
)
