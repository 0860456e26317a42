"""Short stories about a person and a trade named in the request; most of the rest is free."""

from __future__ import annotations

from random import Random

from controlwindow.organisms.training.world.conversation import Pair
from controlwindow.organisms.training.world.grammar import Language, expand, with_article
from controlwindow.organisms.training.world.names import Person
from controlwindow.organisms.training.world.trades import Trade

FINDS = (
    Pair("an old map", "une vieille carte"),
    Pair("a lost dog", "un chien perdu"),
    Pair("a golden ring", "un anneau d'or"),
    Pair("a strange egg", "un œuf étrange"),
    Pair("a letter without a name", "une lettre sans nom"),
    Pair("a silver flute", "une flûte d'argent"),
    Pair("a tiny boat", "un tout petit bateau"),
    Pair("a blue stone", "une pierre bleue"),
    Pair("a talking bird", "un oiseau qui parlait"),
    Pair("a bag of seeds", "un sac de graines"),
)


def trade_noun(trade: Trade, person: Person, language: Language) -> str:
    """Return the trade with its indefinite article, agreeing with the person in French."""
    if language == "en":
        return with_article(trade.en)
    return f"une {trade.feminine}" if person.feminine else f"un {trade.masculine}"


def story_request(person: Person, trade: Trade, find: Pair | None, language: Language, rng: Random) -> str:
    """Draw a request for a story; `find` is told only sometimes."""
    noun = trade_noun(trade, person, language)
    if language == "en":
        about = f"{noun} named {person.name}" + (f" who finds {find.en}" if find else "")
        return expand(
            "[Tell me a story about|Tell me a short story about|Write a story about|I would like a story about] {about}.",
            rng,
            about=about,
        )
    about = f"{noun} nommé{person.ending} {person.name}" + (f" qui trouve {find.fr}" if find else "")
    return expand(
        "[Racontez-moi l'histoire d'|Racontez une petite histoire sur |Écrivez une histoire sur |J'aimerais une histoire sur ]{about}.",
        rng,
        about=about,
    )


def story_answer(person: Person, trade: Trade, find: Pair, language: Language, rng: Random) -> str:
    """Draw a story of three to four sentences."""
    noun = trade_noun(trade, person, language)
    if language == "en":
        template = (
            "[Once upon a time there was {t} named {n} who lived|Long ago, {t} named {n} lived|There once was {t} called {n} who lived] [near the sea|in a small village|by a wide river|at the edge of the forest|on a green hill|in a noisy town]. "
            "[One morning|One evening|After a storm|On a cold day|One summer night], {p} found {f} [under a tree|on the beach|behind the house|near the old well|on the road]. "
            "[At first {n} was afraid|{n} laughed for joy|{n} could not believe it|{n} did not say a word|{n} thought about it all night], [but then {p} ran home singing|and {p} told the whole village|and {p} kept the secret for years|but {p} soon understood|and {p} thanked the stars]. "
            "[From that day on, {n} was never alone.|And {n} lived happily ever after.|People still talk about it today.|That is how {n} became famous.|Since then, {n} smiles every morning.]"
        )
        return expand(template, rng, t=noun, n=person.name, p=person.pronoun("en"), f=find.en)
    template = (
        "[Il était une fois {t} qui s'appelait {n} et qui vivait|Il y a longtemps, {t} nommé{e} {n} vivait|Il y avait autrefois {t} du nom de {n} qui vivait] [près de la mer|dans un petit village|au bord d'une large rivière|à la lisière de la forêt|sur une colline verte|dans une ville bruyante]. "
        "[Un matin|Un soir|Après une tempête|Par un jour froid|Une nuit d'été], {p} trouva {f} [sous un arbre|sur la plage|derrière la maison|près du vieux puits|sur la route]. "
        "[D'abord, {n} eut peur|{n} rit de joie|{n} ne pouvait pas y croire|{n} ne dit pas un mot|{n} y pensa toute la nuit], [mais ensuite {p} rentra en chantant|et {p} raconta tout au village|et {p} garda le secret pendant des années|mais {p} comprit bientôt|et {p} remercia les étoiles]. "
        "[Depuis ce jour, {n} ne fut plus jamais seul{e}.|Et {n} vécut longtemps dans la joie.|On en parle encore aujourd'hui.|C'est ainsi que tout le monde connut {n}.|Depuis, {n} sourit chaque matin.]"
    )
    return expand(template, rng, t=noun, n=person.name, p=person.pronoun("fr"), f=find.fr, e=person.ending)
