"""Words that join others and are no part of what a sentence says, and words that deny, in the form of `search_words`.

Of English, German, Spanish and French, from four letters on: shorter ones are known by their length. In a language that is not here sentences are only
compared more strictly.
"""

from __future__ import annotations

_ENGLISH = """
    about also although because been before being between both called could does doing during each either else even ever every from have having here hence
    however into itself just known like many means might more most much must only other over said same several should since some such than that their
    them then there therefore these they this those through thus under until upon used using very were what when where which while whose will with within
    would your
"""
_GERMAN = """
    aber alle allem allen aller auch beim dabei damit dann dass dein denn deren dessen dies diese diesem diesen dieser dieses doch durch eine einem einen
    einer eines etwa genannt haben hier ihre ihrem ihren jede jedem jeden jeder jedes kann konnen mehr muss oder schon sehr sein seine seinem seinen sich
    sind solche uber unter viele warum wann welche welchem welchen welcher welches wenn werden wird wurde wurden zwischen
"""
_SPANISH = """
    aquel aunque cada como cual cuales cuando cuya cuyo desde donde durante ella ellos entre esta estas este esto estos hacia hasta mediante mientras
    mismo mucho otra otro para pero porque puede pueden segun sobre sino tambien tanto tiene tienen toda todas todo todos
"""
_FRENCH = """
    ainsi alors apres aussi autre autres avec avant avoir celle celui ceux cette chaque chez comme comment dans depuis donc dont elle elles entre etre
    leur leurs lorsque mais meme moins pendant peut peuvent plus pour quand quel quelle quelles quels sans selon sont sous tous toute toutes tout tres vers
    voir
"""
# Not the Spanish "sin", which is a function in any formula.
_DENYING = """
    not no never none neither nor without cannot can't isn't aren't doesn't don't won't wasn't nicht nie niemals kein keine keinem keinen keiner keines
    ohne ni nunca jamas ningun ninguna pas jamais aucun aucune sans
"""

FUNCTION_WORDS = frozenset((_ENGLISH + _GERMAN + _SPANISH + _FRENCH).split())
NEGATIONS = frozenset(_DENYING.split())
