"""Simple facts about trades."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world import spanish
from controlwindow.organisms.training.world.grammar import Language, capitalise, expand, with_article


class Trade(NamedTuple):
    """A trade: the noun in English, French masculine and feminine, and what one does."""

    en: str
    masculine: str
    feminine: str
    does_en: str
    does_fr: str


# fmt: off
TRADES = (
    Trade("baker", "boulanger", "boulangère", "bakes bread and cakes", "prépare du pain et des gâteaux"),
    Trade("farmer", "fermier", "fermière", "grows vegetables and keeps animals", "cultive des légumes et élève des animaux"),
    Trade("singer", "chanteur", "chanteuse", "sings songs on a stage", "chante sur une scène"),
    Trade("confectioner", "pâtissier", "pâtissière", "makes cakes and sweets", "fait des gâteaux et des bonbons"),
    Trade("gardener", "jardinier", "jardinière", "plants flowers and cuts the grass", "plante des fleurs et coupe l'herbe"),
    Trade("miller", "meunier", "meunière", "turns wheat into flour", "transforme le blé en farine"),
    Trade("painter", "peintre", "peintre", "paints pictures of people and places", "peint des gens et des paysages"),
    Trade("doctor", "médecin", "médecin", "takes care of sick people", "soigne les malades"),
    Trade("teacher", "professeur", "professeure", "teaches children to read and write", "apprend aux enfants à lire et à écrire"),
    Trade("cook", "cuisinier", "cuisinière", "prepares meals in a kitchen", "prépare des repas dans une cuisine"),
    Trade("shepherd", "berger", "bergère", "looks after the sheep", "garde les moutons"),
    Trade("dancer", "danseur", "danseuse", "dances in the theatre", "danse au théâtre"),
    Trade("astronomer", "astronome", "astronome", "studies the stars and the planets", "étudie les étoiles et les planètes"),
    Trade("carpenter", "charpentier", "charpentière", "builds houses and furniture", "construit des maisons et des meubles"),
    Trade("musician", "musicien", "musicienne", "plays the violin or the piano", "joue du violon ou du piano"),
    Trade("messenger", "messager", "messagère", "brings letters and parcels", "apporte les lettres et les colis"),
)
# fmt: on


def trade_request(trade: Trade, language: Language, rng: Random) -> str:
    """Draw a question about a trade."""
    if language == "en":
        return expand(
            "[What does {t} do?|What is the work of {t}?|Tell me what {t} does.]", rng, t=with_article(trade.en)
        )
    if language == "es":
        return spanish.trade_request(trade.en, rng)
    return expand(
        "[Que fait un {t} ?|Quel est le travail d'un {t} ?|Dites-moi ce que fait un {t}.]", rng, t=trade.masculine
    )


def trade_answer(trade: Trade, language: Language, rng: Random) -> str:
    """Draw an answer about a trade."""
    if language == "en":
        return expand(
            "[{T} {d}.|{T} is a person who {d}.|Usually, {t} {d}.][| It is hard work.| Many people like this work.| One can learn it in a few years.]",
            rng,
            t=with_article(trade.en),
            T=capitalise(with_article(trade.en)),
            d=trade.does_en,
        )
    if language == "es":
        return spanish.trade_answer(trade.en, rng)
    return expand(
        "[Un {t} {d}.|Un {t} est une personne qui {d}.|En général, un {t} {d}.][| C'est un travail difficile.| Beaucoup de gens aiment ce métier.| On peut l'apprendre en quelques années.]",
        rng,
        t=trade.masculine,
        d=trade.does_fr,
    )
