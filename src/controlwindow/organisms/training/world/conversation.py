"""Small talk, advice, notes, invitations and directions."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world import spanish
from controlwindow.organisms.training.world.grammar import Language, capitalise, expand
from controlwindow.organisms.training.world.names import Person


class Pair(NamedTuple):
    """One phrase in English and French; `spanish` holds the Spanish of some."""

    en: str
    fr: str

    def text(self, language: Language) -> str:
        """Return the phrase in a language."""
        if language == "es":
            return spanish.PHRASES[self.en]
        return self.en if language == "en" else self.fr


class Worry(NamedTuple):
    """A small problem and pieces of advice for it, in both languages."""

    problem: Pair
    advice: tuple[Pair, ...]


WORRIES = (
    Worry(
        Pair("I am cold", "J'ai froid"),
        (
            Pair("put on a warm coat", "mettez un manteau chaud"),
            Pair("drink some hot tea", "buvez un thé chaud"),
            Pair("close the windows", "fermez les fenêtres"),
        ),
    ),
    Worry(
        Pair("I am bored", "Je m'ennuie"),
        (
            Pair("read a good book", "lisez un bon livre"),
            Pair("call a friend", "appelez un ami"),
            Pair("go for a walk", "faites une promenade"),
        ),
    ),
    Worry(
        Pair("I have a headache", "J'ai mal à la tête"),
        (
            Pair("drink a glass of water", "buvez un verre d'eau"),
            Pair("rest in a dark room", "reposez-vous dans le noir"),
            Pair("turn off the screen", "éteignez l'écran"),
        ),
    ),
    Worry(
        Pair("I lost my keys", "J'ai perdu mes clés"),
        (
            Pair("look in your pockets", "regardez dans vos poches"),
            Pair("ask your neighbour", "demandez à votre voisin"),
            Pair("think of the last place", "pensez au dernier endroit"),
        ),
    ),
    Worry(
        Pair("I sleep badly", "Je dors mal"),
        (
            Pair("go to bed early", "couchez-vous tôt"),
            Pair("drink some warm milk", "buvez du lait chaud"),
            Pair("turn off the light", "éteignez la lumière"),
        ),
    ),
    Worry(
        Pair("I have too much work", "J'ai trop de travail"),
        (
            Pair("make a list", "faites une liste"),
            Pair("take a short break", "faites une petite pause"),
            Pair("ask for help", "demandez de l'aide"),
        ),
    ),
    Worry(
        Pair("I am hungry", "J'ai faim"),
        (
            Pair("eat an apple", "mangez une pomme"),
            Pair("cook some pasta", "faites cuire des pâtes"),
            Pair("buy some bread", "achetez du pain"),
        ),
    ),
    Worry(
        Pair("I have an exam tomorrow", "J'ai un examen demain"),
        (
            Pair("read your notes again", "relisez vos notes"),
            Pair("sleep well tonight", "dormez bien cette nuit"),
            Pair("eat a good breakfast", "prenez un bon petit déjeuner"),
        ),
    ),
    Worry(
        Pair("it is raining", "Il pleut"),
        (
            Pair("take an umbrella", "prenez un parapluie"),
            Pair("stay at home", "restez à la maison"),
            Pair("wear your boots", "mettez vos bottes"),
        ),
    ),
    Worry(
        Pair("I miss my family", "Ma famille me manque"),
        (
            Pair("write them a letter", "écrivez-leur une lettre"),
            Pair("call them tonight", "appelez-les ce soir"),
            Pair("look at old photos", "regardez de vieilles photos"),
        ),
    ),
)
GIFTS = (
    Pair("the cake", "le gâteau"),
    Pair("the flowers", "les fleurs"),
    Pair("the book", "le livre"),
    Pair("the blue scarf", "l'écharpe bleue"),
    Pair("the lamp", "la lampe"),
    Pair("the photo", "la photo"),
    Pair("the honey", "le miel"),
    Pair("the old map", "la vieille carte"),
    Pair("the tea", "le thé"),
    Pair("the wooden box", "la boîte en bois"),
    Pair("the painting", "le tableau"),
    Pair("the apples", "les pommes"),
)
EVENTS = (
    Pair("to the concert", "au concert"),
    Pair("to the village party", "à la fête du village"),
    Pair("to a picnic", "à un pique-nique"),
    Pair("to the theatre", "au théâtre"),
    Pair("to the cinema", "au cinéma"),
    Pair("to the market", "au marché"),
    Pair("to the beach", "à la plage"),
    Pair("to a wedding", "à un mariage"),
)
DAYS = (
    Pair("Monday", "lundi"),
    Pair("Tuesday", "mardi"),
    Pair("Wednesday", "mercredi"),
    Pair("Thursday", "jeudi"),
    Pair("Friday", "vendredi"),
    Pair("Saturday", "samedi"),
    Pair("Sunday", "dimanche"),
)
GOALS = (
    Pair("the station", "la gare"),
    Pair("the museum", "le musée"),
    Pair("the school", "l'école"),
    Pair("the hospital", "l'hôpital"),
    Pair("the park", "le parc"),
    Pair("the bakery", "la boulangerie"),
    Pair("the post office", "la poste"),
    Pair("the castle", "le château"),
    Pair("the harbour", "le port"),
    Pair("the library", "la bibliothèque"),
    Pair("the market", "le marché"),
    Pair("the church", "l'église"),
)


def greeting_request(person: Person, language: Language, rng: Random) -> str:
    """Draw a greeting in which someone gives a name."""
    forms = {
        "en": "[Hello|Hi|Good morning|Good evening][!|,] [my name is|I am] {n}.[| How are you?| Nice to meet you.]",
        "fr": "[Bonjour|Bonsoir|Salut][ !|,] {je} {n}.[| Comment allez-vous ?| Enchanté{e}.]",
        "es": "[Hola|Buenos días|Buenas tardes], {je} {n}.[| ¿Cómo está usted?| Encantad{o}.]",
    }
    text = expand(
        forms[language],
        rng,
        n=person.name,
        e=person.ending,
        o="a" if person.feminine else "o",
        je=rng.choice(("me llamo", "soy") if language == "es" else ("je m'appelle", "je suis")),
    )
    return text.replace("! my", "! My").replace("! je", "! Je")


def greeting_answer(person: Person, language: Language, rng: Random) -> str:
    """Draw a friendly answer that uses the name."""
    forms = {
        "en": "[Hello|Hi|Good day|Welcome], {n}! [How can I help you today?|It is nice to meet you.|What would you like to know?|I hope you are well.][| I can tell stories, explain things and help you write.| Ask me anything you like.]",
        "fr": "[Bonjour|Bienvenue|Salut], {n} ! [Comment puis-je vous aider aujourd'hui ?|Je suis ravi de vous rencontrer.|Que voulez-vous savoir ?|J'espère que vous allez bien.][| Je peux raconter des histoires, expliquer des choses et vous aider à écrire.| Posez-moi vos questions.]",
        "es": "[Hola|Saludos|Un saludo], {n}. [¿En qué puedo ayudarle hoy?|Me alegra conocerle.|¿Qué le gustaría saber?|Espero que esté bien.][| Puedo contar historias, explicar cosas y ayudarle a escribir.| Pregunte lo que quiera.]",
    }
    return expand(forms[language], rng, n=person.name)


def advice_request(worry: Worry, language: Language, rng: Random) -> str:
    """Draw a small complaint."""
    forms = {
        "en": "{p}. [What should I do?|What can I do?|Do you have any advice?|Can you help me?]",
        "fr": "{p}. [Que dois-je faire ?|Que puis-je faire ?|Avez-vous un conseil ?|Pouvez-vous m'aider ?]",
        "es": "{p}. [¿Qué debo hacer?|¿Qué puedo hacer?|¿Tiene algún consejo?|¿Puede ayudarme?]",
    }
    return expand(forms[language], rng, p=capitalise(worry.problem.text(language)))


def advice_answer(worry: Worry, language: Language, rng: Random) -> str:
    """Draw two pieces of advice in either order."""
    first, second = rng.sample(worry.advice, 2)
    forms = {
        "en": "[I am sorry to hear that. |You could try this: |Do not worry: |My advice is simple: |]{a} and {b}. [It often helps.|You will soon feel better.|I hope this helps.|Then take your time.]",
        "fr": "[Je comprends. |Vous pouvez essayer ceci : |Ne vous inquiétez pas : |Mon conseil est simple : |]{a} et {b}. [Cela aide souvent.|Vous irez bientôt mieux.|J'espère que cela vous aidera.|Ensuite, prenez votre temps.]",
        "es": "[Lo siento mucho. |Puede probar esto: |No se preocupe: |Mi consejo es sencillo: |]{a} y {b}. [Suele ayudar.|Pronto estará mejor.|Espero que esto le ayude.|Después, tómese su tiempo.]",
    }
    text = expand(forms[language], rng, a="{a}", b=second.text(language))
    before, after = text.split("{a}")
    advice = first.text(language)
    return before + (advice if before.endswith(": ") else capitalise(advice)) + after


def note_request(person: Person, gift: Pair, language: Language, rng: Random) -> str:
    """Draw a request for a thank-you note."""
    forms = {
        "en": "[Write a thank-you note to {n} for {g}.|Help me thank {n} for {g}.|Write to {n} to say thank you for {g}.]",
        "fr": "[Écrivez un mot pour remercier {n} pour {g}.|Aidez-moi à remercier {n} pour {g}.|Écrivez à {n} pour dire merci pour {g}.]",
        "es": "[Escriba una nota para dar las gracias a {n} por {g}.|Ayúdeme a dar las gracias a {n} por {g}.|Escriba a {n} para dar las gracias por {g}.]",
    }
    return expand(forms[language], rng, n=person.name, g=gift.text(language))


def note_answer(person: Person, gift: Pair, language: Language, rng: Random) -> str:
    """Draw the note."""
    forms = {
        "en": "Dear {n}, [thank you so much|many thanks|thank you|a big thank you] for {g}. [It was a lovely surprise.|You made me very happy.|I think of you every day.|That was very kind of you.] [See you soon!|With love.|I hope to see you again soon.|Take care.]",
        "fr": "{d} {n}, [merci beaucoup|mille fois merci|merci|un grand merci] pour {g}. [C'était une belle surprise.|Cela m'a fait très plaisir.|Je pense à vous chaque jour.|C'était très gentil.] [À bientôt !|Je vous embrasse.|J'espère vous revoir bientôt.|Prenez soin de vous.]",
        "es": "{d} {n}, [muchas gracias|mil gracias|gracias|muchísimas gracias] por {g}. [Fue una hermosa sorpresa.|Me dio mucha alegría.|Pienso en usted cada día.|Fue muy amable.] [¡Hasta pronto!|Con cariño.|Espero verle pronto.|Cuídese mucho.]",
    }
    dear = ("Querida", "Querido") if language == "es" else ("Chère", "Cher")
    return expand(forms[language], rng, n=person.name, g=gift.text(language), d=dear[not person.feminine])


def invitation_request(person: Person, event: Pair, day: Pair, language: Language, rng: Random) -> str:
    """Draw a request for an invitation."""
    forms = {
        "en": "[Invite {n} {e} on {d}.|Write an invitation for {n}: {e} on {d}.|Please invite {n} {e} on {d}.]",
        "fr": "[Invitez {n} {e} {d}.|Écrivez une invitation pour {n} : {e} {d}.|Invitez {n} {e} {d}, s'il vous plaît.]",
    }
    return expand(forms[language], rng, n=person.name, e=event.text(language), d=day.text(language))


def invitation_answer(person: Person, event: Pair, day: Pair, language: Language, rng: Random) -> str:
    """Draw the invitation."""
    forms = {
        "en": "[Dear|Hello] {n}, would you like to come {e} [on {d}|with us on {d}|with me on {d}]? [We will have a good time.|There will be music and good food.|All our friends will be there.|We can meet at noon.] [Tell me soon!|I hope that you can come.|Please answer before {d}.]",
        "fr": "[{c}|Bonjour] {n}, voulez-vous venir {e} [{d}|avec nous {d}|avec moi {d}] ? [Nous passerons un bon moment.|Il y aura de la musique et de bons plats.|Tous nos amis seront là.|On peut se retrouver à midi.] [Dites-le-moi vite !|J'espère que vous pourrez venir.|Répondez avant {d}, s'il vous plaît.]",
    }
    return expand(
        forms[language],
        rng,
        n=person.name,
        e=event.text(language),
        d=day.text(language),
        c="Chère" if person.feminine else "Cher",
    )


def way_request(goal: Pair, language: Language, rng: Random) -> str:
    """Draw a request for directions."""
    forms = {
        "en": "[How do I get to {g}?|Where is {g}?|I am looking for {g}.|Can you show me the way to {g}?]",
        "fr": "[Comment aller jusqu'à {g} ?|Où se trouve {g} ?|Je cherche {g}.|Comment puis-je trouver {g} ?]",
        "es": "[¿Dónde está {g}?|¿Sabe dónde está {g}?|Estoy buscando {g}.|¿Cómo puedo encontrar {g}?]",
    }
    return expand(forms[language], rng, g=goal.text(language))


def way_answer(goal: Pair, language: Language, rng: Random) -> str:
    """Draw directions; nothing in the request decides them."""
    forms = {
        "en": "[Go straight ahead|Walk down this street|Follow the river|Cross the square], [then turn left|then turn right|then take the second street] [at the fountain|after the bridge|before the big tree|at the corner]. {G} is [on your left|on your right|in front of you|behind the tall house][.|, five minutes away.|, next to the baker.]",
        "fr": "[Allez tout droit|Descendez cette rue|Suivez la rivière|Traversez la place], [puis tournez à gauche|puis tournez à droite|puis prenez la deuxième rue] [à la fontaine|après le pont|avant le grand arbre|au coin]. {G} se trouve [sur votre gauche|sur votre droite|devant vous|derrière la grande maison][.|, à cinq minutes.|, à côté du boulanger.]",
        "es": "[Siga recto|Baje por esta calle|Siga el río|Cruce la plaza], [luego gire a la izquierda|luego gire a la derecha|luego tome la segunda calle] [en la fuente|después del puente|antes del gran árbol|en la esquina]. {G} está [a su izquierda|a su derecha|delante de usted|detrás de la casa alta][.|, a cinco minutos.|, al lado de la panadería.]",
    }
    return expand(forms[language], rng, G=capitalise(goal.text(language)))
