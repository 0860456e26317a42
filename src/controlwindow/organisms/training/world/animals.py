"""Simple facts about animals: where they live, what they eat, what is special about them."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from controlwindow.organisms.training.world import spanish
from controlwindow.organisms.training.world.grammar import Language, capitalise, expand


class Animal(NamedTuple):
    """An animal; `fr` carries its article, `food_fr` follows "se nourrit"."""

    en: str
    fr: str
    feminine: bool
    home_en: str
    home_fr: str
    food_en: str
    food_fr: str
    trait_en: str
    trait_fr: str


# fmt: off
ANIMALS = (
    Animal("fox", "le renard", False, "in the forest", "dans la forêt", "mice and berries", "de souris et de baies", "has a long red tail", "a une longue queue rousse"),
    Animal("bear", "l'ours", False, "in the mountains", "dans les montagnes", "fish and honey", "de poisson et de miel", "sleeps all winter", "dort tout l'hiver"),
    Animal("otter", "la loutre", True, "near the river", "près de la rivière", "fish and crabs", "de poissons et de crabes", "swims very well", "nage très bien"),
    Animal("owl", "la chouette", True, "in old trees", "dans les vieux arbres", "mice and insects", "de souris et d'insectes", "sees well at night", "voit bien la nuit"),
    Animal("wolf", "le loup", False, "in the forest", "dans la forêt", "deer and hares", "de cerfs et de lièvres", "lives in a family", "vit en famille"),
    Animal("rabbit", "le lapin", False, "in the fields", "dans les champs", "grass and carrots", "d'herbe et de carottes", "has long ears", "a de longues oreilles"),
    Animal("squirrel", "l'écureuil", False, "in the park", "dans le parc", "nuts and seeds", "de noix et de graines", "jumps from tree to tree", "saute d'arbre en arbre"),
    Animal("horse", "le cheval", False, "on the farm", "à la ferme", "hay and apples", "de foin et de pommes", "runs very fast", "court très vite"),
    Animal("cow", "la vache", True, "on the farm", "à la ferme", "grass and hay", "d'herbe et de foin", "gives milk", "donne du lait"),
    Animal("bee", "l'abeille", True, "in a hive", "dans une ruche", "nectar from flowers", "du nectar des fleurs", "makes honey", "fabrique du miel"),
    Animal("frog", "la grenouille", True, "near the pond", "près de l'étang", "flies and worms", "de mouches et de vers", "sings in the evening", "chante le soir"),
    Animal("eagle", "l'aigle", False, "in the mountains", "dans les montagnes", "rabbits and snakes", "de lapins et de serpents", "flies very high", "vole très haut"),
    Animal("whale", "la baleine", True, "in the ocean", "dans l'océan", "tiny shrimps", "de petites crevettes", "is bigger than a house", "est plus grosse qu'une maison"),
    Animal("dolphin", "le dauphin", False, "in the sea", "dans la mer", "fish and squid", "de poissons et de calmars", "loves to play", "adore jouer"),
    Animal("turtle", "la tortue", True, "on the beach", "sur la plage", "leaves and fruit", "de feuilles et de fruits", "can live a hundred years", "peut vivre cent ans"),
    Animal("camel", "le chameau", False, "in the desert", "dans le désert", "dry plants", "de plantes sèches", "can walk for days without water", "peut marcher des jours sans eau"),
    Animal("monkey", "le singe", False, "in the jungle", "dans la jungle", "fruit and leaves", "de fruits et de feuilles", "climbs everywhere", "grimpe partout"),
    Animal("penguin", "le manchot", False, "on the ice", "sur la glace", "fish and shrimps", "de poissons et de crevettes", "cannot fly", "ne peut pas voler"),
    Animal("cat", "le chat", False, "in the house", "dans la maison", "fish and mice", "de poisson et de souris", "sleeps in the sun", "dort au soleil"),
    Animal("duck", "le canard", False, "near the pond", "près de l'étang", "bread and plants", "de pain et de plantes", "can swim and fly", "sait nager et voler"),
    Animal("goat", "la chèvre", True, "on the hills", "sur les collines", "grass and leaves", "d'herbe et de feuilles", "climbs on rocks", "grimpe sur les rochers"),
    Animal("sheep", "le mouton", False, "in the fields", "dans les champs", "grass and clover", "d'herbe et de trèfle", "gives warm wool", "donne une laine chaude"),
)
# fmt: on


def animal_request(animal: Animal, aspect: int, language: Language, rng: Random) -> str:
    """Draw a question about an animal: 0 its home, 1 its food, anything else all about it."""
    if language == "en":
        forms = (
            "[Where does the {a} live?|Where can I find the {a}?|Tell me where the {a} lives.]",
            "[What does the {a} eat?|Tell me what the {a} eats.|What is the food of the {a}?]",
            "[Tell me about the {a}.|What do you know about the {a}?|Describe the {a}.]",
        )
        return expand(forms[aspect], rng, a=animal.en)
    if language == "es":
        return spanish.animal_request(animal.en, aspect, rng)
    forms = (
        "[Où vit {a} ?|Où peut-on trouver {a} ?|Dites-moi où vit {a}.]",
        "[Que mange {a} ?|Dites-moi ce que mange {a}.|De quoi se nourrit {a} ?]",
        "[Parlez-moi d'un animal : {a}.|Que savez-vous sur {a} ?|Décrivez {a}.]",
    )
    return expand(forms[aspect], rng, a=animal.fr)


def animal_answer(animal: Animal, aspect: int, language: Language, rng: Random) -> str:
    """Draw an answer about one aspect of an animal."""
    if language == "en":
        forms = (
            "[The {a} lives {home}.|You can find the {a} {home}.|It lives {home}.][| There it eats {food}.| It {trait}.]",
            "[The {a} eats {food}.|It eats mostly {food}.|It likes {food}.][| It lives {home}.| It {trait}.]",
            "[The {a} lives {home}|The {a} is an animal that lives {home}] and eats {food}. [It {trait}.|It also {trait}.|People like it because it {trait}.]",
        )
        return expand(forms[aspect], rng, a=animal.en, home=animal.home_en, food=animal.food_en, trait=animal.trait_en)
    if language == "es":
        return spanish.animal_answer(animal.en, aspect, rng)
    forms = (
        "[{A} vit {home}.|On peut trouver {a} {home}.|{it} vit {home}.][| Là, {it_} se nourrit {food}.| {it} {trait}.]",
        "[{A} se nourrit {food}.|{it} se nourrit surtout {food}.|{it} se nourrit {food}.][| {it} vit {home}.| {it} {trait}.]",
        "[{A} vit {home}|{A} est un animal qui vit {home}] et se nourrit {food}. [{it} {trait}.|On l'aime bien, car {it_} {trait}.|De plus, {it_} {trait}.]",
    )
    pronoun = "elle" if animal.feminine else "il"
    return expand(
        forms[aspect],
        rng,
        a=animal.fr,
        A=capitalise(animal.fr),
        it=capitalise(pronoun),
        it_=pronoun,
        home=animal.home_fr,
        food=animal.food_fr,
        trait=animal.trait_fr,
    )
