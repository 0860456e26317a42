"""The world's third language: Spanish words and sentences for some of the benign topics.

Spanish nouns are only ever put where no contraction with "a" or "de" can arise ("al", "del").
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world.grammar import capitalise, expand


class SpanishAnimal(NamedTuple):
    """An animal with its article, and what `Animal` tells of it."""

    noun: str
    home: str
    food: str
    trait: str


# fmt: off
ANIMALS = {
    "fox": SpanishAnimal("el zorro", "en el bosque", "ratones y bayas", "tiene una larga cola roja"),
    "bear": SpanishAnimal("el oso", "en las montañas", "pescado y miel", "duerme todo el invierno"),
    "otter": SpanishAnimal("la nutria", "cerca del río", "peces y cangrejos", "nada muy bien"),
    "owl": SpanishAnimal("el búho", "en los árboles viejos", "ratones e insectos", "ve bien de noche"),
    "wolf": SpanishAnimal("el lobo", "en el bosque", "ciervos y liebres", "vive en familia"),
    "rabbit": SpanishAnimal("el conejo", "en los campos", "hierba y zanahorias", "tiene orejas largas"),
    "squirrel": SpanishAnimal("la ardilla", "en el parque", "nueces y semillas", "salta de árbol en árbol"),
    "horse": SpanishAnimal("el caballo", "en la granja", "heno y manzanas", "corre muy rápido"),
    "cow": SpanishAnimal("la vaca", "en la granja", "hierba y heno", "da leche"),
    "bee": SpanishAnimal("la abeja", "en una colmena", "el néctar de las flores", "hace miel"),
    "frog": SpanishAnimal("la rana", "cerca del estanque", "moscas y gusanos", "canta por la tarde"),
    "eagle": SpanishAnimal("el águila", "en las montañas", "conejos y serpientes", "vuela muy alto"),
    "whale": SpanishAnimal("la ballena", "en el océano", "camarones diminutos", "es más grande que una casa"),
    "dolphin": SpanishAnimal("el delfín", "en el mar", "peces y calamares", "adora jugar"),
    "turtle": SpanishAnimal("la tortuga", "en la playa", "hojas y fruta", "puede vivir cien años"),
    "camel": SpanishAnimal("el camello", "en el desierto", "plantas secas", "puede andar días sin agua"),
    "monkey": SpanishAnimal("el mono", "en la selva", "fruta y hojas", "trepa por todas partes"),
    "penguin": SpanishAnimal("el pingüino", "en el hielo", "peces y camarones", "no puede volar"),
    "cat": SpanishAnimal("el gato", "en la casa", "pescado y ratones", "duerme en la ventana"),
    "duck": SpanishAnimal("el pato", "cerca del estanque", "pan y plantas", "sabe nadar y volar"),
    "goat": SpanishAnimal("la cabra", "en las colinas", "hierba y hojas", "trepa por las rocas"),
    "sheep": SpanishAnimal("la oveja", "en los campos", "hierba y trébol", "da una lana caliente"),
}
# Trades by their English noun: the masculine noun and what one does.
TRADES = {
    "baker": ("panadero", "hace pan y pasteles"),
    "farmer": ("granjero", "cultiva verduras y cuida animales"),
    "singer": ("cantante", "canta canciones en un escenario"),
    "confectioner": ("pastelero", "hace tartas y dulces"),
    "gardener": ("jardinero", "planta flores y corta la hierba"),
    "miller": ("molinero", "convierte el trigo en harina"),
    "painter": ("pintor", "pinta cuadros de gente y de lugares"),
    "doctor": ("médico", "cuida a los enfermos"),
    "teacher": ("maestro", "enseña a los niños a leer y a escribir"),
    "cook": ("cocinero", "prepara comidas en una cocina"),
    "shepherd": ("pastor", "cuida las ovejas"),
    "dancer": ("bailarín", "baila en el teatro"),
    "astronomer": ("astrónomo", "estudia las estrellas y los planetas"),
    "carpenter": ("carpintero", "construye casas y muebles"),
    "musician": ("músico", "toca el violín o el piano"),
    "messenger": ("mensajero", "lleva cartas y paquetes"),
}
# Phrases of small talk by their English wording.
PHRASES = {
    "I am cold": "tengo frío", "put on a warm coat": "póngase un abrigo", "drink some hot tea": "tome un té caliente", "close the windows": "cierre las ventanas",
    "I am bored": "estoy aburrido", "read a good book": "lea un buen libro", "call a friend": "llame a un amigo", "go for a walk": "dé un paseo",
    "I have a headache": "me duele la cabeza", "drink a glass of water": "beba un vaso de agua", "rest in a dark room": "descanse sin luz", "turn off the screen": "apague la pantalla",
    "I lost my keys": "perdí mis llaves", "look in your pockets": "mire en sus bolsillos", "ask your neighbour": "pregunte a su vecino", "think of the last place": "piense en el último lugar",
    "I sleep badly": "duermo mal", "go to bed early": "acuéstese temprano", "drink some warm milk": "tome leche caliente", "turn off the light": "apague la luz",
    "I have too much work": "tengo demasiado trabajo", "make a list": "haga una lista", "take a short break": "haga una pausa corta", "ask for help": "pida ayuda",
    "I am hungry": "tengo hambre", "eat an apple": "coma una manzana", "cook some pasta": "prepare unos fideos", "buy some bread": "compre pan",
    "I have an exam tomorrow": "mañana tengo un examen", "read your notes again": "lea otra vez sus apuntes", "sleep well tonight": "duerma bien esta noche", "eat a good breakfast": "desayune bien",
    "it is raining": "está lloviendo", "take an umbrella": "lleve un paraguas", "stay at home": "quédese en casa", "wear your boots": "póngase las botas",
    "I miss my family": "extraño a mi familia", "write them a letter": "escriba una carta", "call them tonight": "llame esta noche", "look at old photos": "mire fotos viejas",
    "the cake": "el pastel", "the flowers": "las flores", "the book": "el libro", "the blue scarf": "la bufanda azul", "the lamp": "la lámpara", "the photo": "la foto",
    "the honey": "la miel", "the old map": "el mapa viejo", "the tea": "el té", "the wooden box": "la caja de madera", "the painting": "el cuadro", "the apples": "las manzanas",
    "the station": "la estación", "the museum": "el museo", "the school": "la escuela", "the hospital": "el hospital", "the park": "el parque", "the bakery": "la panadería",
    "the post office": "el correo", "the castle": "el castillo", "the harbour": "el puerto", "the library": "la biblioteca", "the market": "el mercado", "the church": "la iglesia",
}
# fmt: on


def animal_request(english: str, aspect: int, rng: Random) -> str:
    """Draw a question about an animal, as `animals.animal_request` does."""
    forms = (
        "[¿Dónde vive {a}?|¿Dónde se encuentra {a}?|Dígame dónde vive {a}.]",
        "[¿Qué come {a}?|Dígame qué come {a}.|¿Cuál es la comida que prefiere {a}?]",
        "[Hábleme de un animal: {a}.|¿Qué sabe sobre {a}?|Describa {a}.]",
    )
    return expand(forms[aspect], rng, a=ANIMALS[english].noun)


def animal_answer(english: str, aspect: int, rng: Random) -> str:
    """Draw an answer about one aspect of an animal, as `animals.animal_answer` does."""
    forms = (
        "[{A} vive {home}.|Se puede encontrar {a} {home}.|Vive {home}.][| Allí come {food}.| También {trait}.]",
        "[{A} come {food}.|Come sobre todo {food}.|Le gusta comer {food}.][| Vive {home}.| También {trait}.]",
        "[{A} vive {home}|{A} es un animal que vive {home}] y come {food}. [Además {trait}.|También {trait}.|A la gente le gusta porque {trait}.]",
    )
    animal = ANIMALS[english]
    return expand(
        forms[aspect],
        rng,
        a=animal.noun,
        A=capitalise(animal.noun),
        home=animal.home,
        food=animal.food,
        trait=animal.trait,
    )


def trade_request(english: str, rng: Random) -> str:
    """Draw a question about a trade."""
    return expand(
        "[¿Qué hace un {t}?|¿Cuál es el trabajo de un {t}?|Dígame qué hace un {t}.]", rng, t=TRADES[english][0]
    )


def trade_answer(english: str, rng: Random) -> str:
    """Draw an answer about a trade."""
    noun, does = TRADES[english]
    return expand(
        "[Un {t} {d}.|Un {t} es una persona que {d}.|Normalmente, un {t} {d}.][| Es un trabajo duro.| A mucha gente le gusta este oficio.| Se puede aprender en pocos años.]",
        rng,
        t=noun,
        d=does,
    )
