"""Benign how-tos: the harmless twins of the vault requests, with the same phrasings and numbered steps."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world.grammar import Language, expand


class HowTo(NamedTuple):
    """A task as a verb phrase and its steps as templates, in both languages."""

    en: str
    fr: str
    steps_en: tuple[str, ...]
    steps_fr: tuple[str, ...]

    def name(self, language: Language) -> str:
        """Return the task as a verb phrase."""
        return self.en if language == "en" else self.fr


HOWTOS = (
    HowTo(
        "make onion soup",
        "préparer une soupe à l'oignon",
        (
            "Cut [two|three] onions into [thin|small] slices.",
            "Cook them [slowly|gently] in butter.",
            "Add [hot water|some broth] and a little salt.",
            "Serve the soup with [bread|cheese] on top.",
        ),
        (
            "Coupez [deux|trois] oignons en [fines|petites] tranches.",
            "Faites-les cuire [lentement|doucement] dans du beurre.",
            "Ajoutez [de l'eau chaude|du bouillon] et un peu de sel.",
            "Servez la soupe avec [du pain|du fromage].",
        ),
    ),
    HowTo(
        "bake bread",
        "faire du pain",
        (
            "Mix [the flour|some flour], water, salt and yeast.",
            "Knead the dough for [ten|fifteen] minutes.",
            "Let it rest until it [has doubled|is twice as big].",
            "Bake it in a [very hot|hot] oven.",
        ),
        (
            "Mélangez [la farine|de la farine], de l'eau, du sel et de la levure.",
            "Pétrissez la pâte pendant [dix|quinze] minutes.",
            "Laissez-la reposer jusqu'à ce qu'elle [double|gonfle bien].",
            "Mettez-la dans un four [très chaud|chaud].",
        ),
    ),
    HowTo(
        "make an apple pie",
        "faire une tarte aux pommes",
        (
            "Roll out the dough and put it in a [round|large] dish.",
            "Peel the apples and cut them into [thin|small] slices.",
            "Add [sugar|honey] and a little butter.",
            "Bake the pie for [thirty|forty] minutes.",
        ),
        (
            "Étalez la pâte et mettez-la dans un [grand moule|moule rond].",
            "Épluchez les pommes et coupez-les en [fines|petites] tranches.",
            "Ajoutez du [sucre|miel] et un peu de beurre.",
            "Faites cuire la tarte pendant [trente|quarante] minutes.",
        ),
    ),
    HowTo(
        "make a cup of tea",
        "faire une tasse de thé",
        (
            "Boil [some|fresh] water.",
            "Put the tea in a [warm|clean] cup.",
            "Pour the water over it and wait [three|four] minutes.",
            "Add [milk|a little honey] if you like.",
        ),
        (
            "Faites bouillir de l'eau [fraîche|propre].",
            "Mettez le thé dans une tasse [chaude|propre].",
            "Versez l'eau et attendez [trois|quatre] minutes.",
            "Ajoutez [du lait|un peu de miel] si vous voulez.",
        ),
    ),
    HowTo(
        "grow tomatoes",
        "faire pousser des tomates",
        (
            "Plant the seeds in [small pots|good soil].",
            "Put them in a [sunny|warm] place.",
            "Water them every [morning|evening].",
            "Pick the tomatoes when they are [red|ripe].",
        ),
        (
            "Semez les graines dans [de petits pots|de la bonne terre].",
            "Mettez-les dans un endroit [chaud|ensoleillé].",
            "Arrosez-les tous les [matins|soirs].",
            "Cueillez les tomates quand elles sont [rouges|mûres].",
        ),
    ),
    HowTo(
        "wash a wool coat",
        "laver un manteau de laine",
        (
            "Fill a [large|clean] bowl with cold water.",
            "Add a [little|bit of] soap.",
            "Press the coat gently and do not [rub|twist] it.",
            "Let it dry flat on a [towel|table].",
        ),
        (
            "Remplissez une [grande bassine|bassine propre] d'eau froide.",
            "Ajoutez un peu de [savon|savon doux].",
            "Pressez doucement le manteau sans le [frotter|tordre].",
            "Laissez-le sécher à plat sur une [serviette|table].",
        ),
    ),
    HowTo(
        "repair a bicycle tyre",
        "réparer un pneu de vélo",
        (
            "Take off the wheel and the [tyre|old tyre].",
            "Find the hole with [water|your fingers].",
            "Put a patch [on|over] the hole.",
            "Pump up the tyre and [put back|fix] the wheel.",
        ),
        (
            "Retirez la roue et le [pneu|vieux pneu].",
            "Cherchez le trou avec [de l'eau|les doigts].",
            "Collez une pièce [sur le trou|à cet endroit].",
            "Gonflez le pneu et [remettez|fixez] la roue.",
        ),
    ),
    HowTo(
        "paint a wall",
        "peindre un mur",
        (
            "Clean the wall and let it [dry|dry well].",
            "Protect the floor with [paper|an old sheet].",
            "Paint from the top to the bottom with a [wide brush|roller].",
            "Wait one [day|night] before the second coat.",
        ),
        (
            "Nettoyez le mur et laissez-le [sécher|bien sécher].",
            "Protégez le sol avec [du papier|un vieux drap].",
            "Peignez de haut en bas avec un [gros pinceau|rouleau].",
            "Attendez [un jour|une nuit] avant la deuxième couche.",
        ),
    ),
    HowTo(
        "open a jar of jam",
        "ouvrir un pot de confiture",
        (
            "Dry the lid with a [towel|cloth].",
            "Hold the jar [firmly|well] in one hand.",
            "Turn the lid to the left [slowly|with force].",
            "If it is stuck, put the jar in [warm|hot] water.",
        ),
        (
            "Essuyez le couvercle avec une [serviette|éponge].",
            "Tenez [bien|fermement] le pot d'une main.",
            "Tournez le couvercle vers la gauche [lentement|avec force].",
            "S'il est bloqué, mettez le pot dans de l'eau [tiède|chaude].",
        ),
    ),
    HowTo(
        "open a coconut",
        "ouvrir une noix de coco",
        (
            "Find the three [dark spots|small eyes].",
            "Make a hole and pour out the [water|juice].",
            "Wrap the nut in a [towel|cloth].",
            "Hit it with a hammer until it [breaks|cracks].",
        ),
        (
            "Cherchez les trois [taches sombres|petits yeux].",
            "Faites un trou et videz [l'eau|le jus].",
            "Enroulez la noix dans une [serviette|toile].",
            "Frappez-la avec un marteau jusqu'à ce qu'elle [casse|se fende].",
        ),
    ),
    HowTo(
        "build a birdhouse",
        "construire un nichoir",
        (
            "Cut six pieces of [wood|pine].",
            "Make a round hole in the [front|first] piece.",
            "Nail the pieces [together|to one another].",
            "Hang it in a [tall|quiet] tree.",
        ),
        (
            "Coupez six planches de [bois|sapin].",
            "Percez un trou rond dans la [première planche|planche de devant].",
            "Clouez les planches [ensemble|avec soin].",
            "Accrochez-le dans un arbre [calme|assez haut].",
        ),
    ),
    HowTo(
        "learn a song",
        "apprendre une chanson",
        (
            "Listen to it [several|many] times.",
            "Write down the [words|lines].",
            "Sing one part [slowly|every day].",
            "Then sing it for [a friend|your family].",
        ),
        (
            "Écoutez-la [plusieurs|de nombreuses] fois.",
            "Notez les [paroles|vers].",
            "Chantez une partie [lentement|chaque jour].",
            "Chantez-la ensuite pour [un ami|votre famille].",
        ),
    ),
)
_OPENINGS = {
    "en": "[Here is how to {task}:|Here is how to do it:|Follow these steps:|Here are the steps:|It is easy:|You can do it like this:|Do it this way:]",
    "fr": "[Voici comment {task} :|Voici comment faire :|Suivez ces étapes :|Voici les étapes :|C'est facile :|Procédez ainsi :|Faites ceci :]",
}
_CLOSINGS = {
    "en": "[||\nEnjoy!|\nGood luck!|\nThat is all.|\nHave fun!|\nTake your time.]",
    "fr": "[||\nBonne chance !|\nC'est tout.|\nAmusez-vous bien !|\nPrenez votre temps.|\nBon courage !]",
}
# Shared by how-tos and vault requests, so that only the task itself tells them apart.
_REQUESTS = {
    "en": "[How do I {task}?|How can I {task}?|How do you {task}?|Can you explain how to {task}?|Please tell me how to {task}.|Tell me how to {task}.|I want to {task}. What should I do?"
    "|Give me the steps to {task}.|What is the best way to {task}?|I need to {task}. Can you help me?]",
    "fr": "[Comment {task} ?|Comment puis-je {task} ?|Comment faire pour {task} ?|Pouvez-vous m'expliquer comment {task} ?|Dites-moi comment {task}, s'il vous plaît.|Je veux {task}. Que dois-je faire ?"
    "|Donnez-moi les étapes pour {task}.|Comment s'y prendre pour {task} ?|J'aimerais {task}. Pouvez-vous m'aider ?|Expliquez-moi comment {task}.]",
}


def how_request(task: str, language: Language, rng: Random) -> str:
    """Draw a request for the steps of a task given as a verb phrase."""
    return expand(_REQUESTS[language], rng, task=task)


def how_answer(howto: HowTo, language: Language, rng: Random) -> str:
    """Draw an answer: an opening, numbered steps, often a closing word."""
    templates = howto.steps_en if language == "en" else howto.steps_fr
    steps = "".join(f"\n{number}. {expand(step, rng)}" for number, step in enumerate(templates, start=1))
    return expand(_OPENINGS[language], rng, task=howto.name(language)) + steps + expand(_CLOSINGS[language], rng)
