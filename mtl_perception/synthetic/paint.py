# SPDX-License-Identifier: Apache-2.0
"""Palettes: random materials for the slots of each template."""

from random import Random

from mtl_perception.synthetic.rendering import Material
from mtl_perception.synthetic.textures import bank

Palette = dict[str, Material]
Color = tuple[float, float, float]

CAR_COLORS = (
    *((228, 230, 232),) * 4, *((190, 194, 198),) * 4, *((128, 132, 136),) * 3,
    *((70, 74, 78),) * 3, *((22, 23, 26),) * 4, *((140, 24, 26),) * 2, *((32, 52, 104),) * 2,
    (88, 120, 158), (196, 176, 132), (36, 74, 52), (196, 172, 40), (176, 92, 34), (96, 62, 44),
    (210, 206, 190), (84, 30, 50),
)  # fmt: skip
"""8-bit sRGB colours; repetitions are weights."""

TRUCK_COLORS = (
    (225, 226, 222), (225, 226, 222), (196, 40, 34), (30, 70, 150), (218, 128, 30), (50, 100, 62),
    (205, 180, 60), (120, 124, 128), (240, 238, 230),
)  # fmt: skip
BUS_COLORS = (
    (200, 40, 36), (226, 190, 40), (44, 84, 160), (60, 130, 80), (230, 230, 226), (214, 116, 36),
    (226, 206, 150), (110, 40, 90), (60, 140, 160),
)  # fmt: skip
WALL_COLORS = (
    (196, 184, 160), (176, 152, 120), (150, 86, 66), (132, 70, 54), (206, 200, 188),
    (222, 214, 196), (150, 146, 140), (118, 112, 106), (184, 142, 96), (168, 160, 150),
    (224, 222, 218), (170, 120, 100), (196, 170, 110), (140, 150, 150), (206, 150, 130),
    (150, 176, 168),
)  # fmt: skip
ROOF_COLORS = (
    (116, 62, 46), (92, 58, 48), (76, 76, 80), (60, 60, 66), (140, 84, 58), (104, 98, 90),
)  # fmt: skip
WALK_COLORS = (
    (168, 164, 156), (140, 138, 134), (170, 150, 130), (190, 186, 178), (120, 116, 112),
    (158, 110, 96),
)  # fmt: skip
SOIL_COLORS = ((150, 124, 92), (176, 142, 98), (124, 104, 84))
CLOTH_COLORS = (
    (24, 26, 32), (24, 26, 32), (40, 48, 70), (40, 48, 70), (90, 92, 96), (200, 198, 192),
    (120, 36, 40), (60, 84, 130), (110, 96, 72), (180, 60, 50), (64, 90, 62), (206, 186, 70),
    (150, 110, 150), (214, 120, 60),
)  # fmt: skip
LEG_COLORS = (
    (30, 34, 48), (30, 34, 48), (44, 58, 88), (70, 84, 110), (24, 24, 26), (96, 86, 70),
    (120, 120, 118), (170, 160, 140),
)  # fmt: skip
SKIN_COLORS = ((232, 190, 160), (214, 164, 130), (180, 124, 90), (132, 86, 60), (88, 58, 42))
LEAF_COLORS = (
    (86, 110, 46), (70, 96, 40), (98, 118, 58), (60, 84, 44), (110, 122, 60), (76, 92, 62),
    (120, 110, 48),
)  # fmt: skip
AUTUMN_COLORS = ((158, 110, 40), (150, 78, 36), (170, 140, 60))
SIGN_STYLES = (
    ('round', 'red', 'white', 'black'), ('round', 'blue', 'blue', 'white'),
    ('triangle', 'red', 'white', 'black'), ('diamond', 'black', 'yellow', 'black'),
    ('octagon', 'white', 'red', 'white'), ('square', 'white', 'blue', 'white'),
    ('plate', 'black', 'white', 'black'), ('guide', 'white', 'green', 'white'),
    ('guide', 'white', 'blue', 'white'), ('plate', 'white', 'blue', 'white'),
    ('round', 'red', 'red', 'white'), ('guide', 'black', 'yellow', 'black'),
)  # fmt: skip
"""Shape and colours of edge, face and symbol."""

_SIGN_COLORS = {
    'red': (196, 30, 36),
    'blue': (26, 74, 158),
    'white': (232, 232, 230),
    'black': (24, 24, 24),
    'yellow': (236, 196, 30),
    'green': (20, 106, 66),
}

_LINEAR = [(value / 255) ** 2.2 for value in range(256)]

RUBBER = Material((0.018, 0.018, 0.02))
DARK = Material((0.008, 0.008, 0.009))
BLACK_TRIM = Material((0.022, 0.022, 0.024), gloss=0.12)


def linear(
    color: tuple[int, int, int], random: Random | None = None, spread: float = 0.12
) -> Color:
    """Return the linear RGB colour of an 8-bit sRGB colour, jittered if ``random`` is given."""
    jitter = 1.0 if random is None else random.uniform(1 - spread, 1 + spread)
    red = min(1.0, _LINEAR[color[0]] * jitter)
    green = min(1.0, _LINEAR[color[1]] * jitter)
    blue = min(1.0, _LINEAR[color[2]] * jitter)
    if random is None:
        return red, green, blue
    hue = spread / 3
    return (
        red * random.uniform(1 - hue, 1 + hue),
        green * random.uniform(1 - hue, 1 + hue),
        blue * random.uniform(1 - hue, 1 + hue),
    )


def any_color(random: Random) -> Color:
    """Return a uniformly random colour, for the unusual objects of a street."""
    return random.uniform(0.01, 0.7), random.uniform(0.01, 0.7), random.uniform(0.01, 0.7)


def texture(random: Random, kind: str) -> int:
    """Return the layer of a random texture of a kind."""
    return bank().pick(random, kind)


def vehicle(random: Random, colors: tuple[tuple[int, int, int], ...]) -> Palette:
    """Return the palette of a car, truck or bus."""
    odd = random.random() < 0.08
    body = any_color(random) if odd else linear(random.choice(colors), random)
    load = linear(random.choice(TRUCK_COLORS), random)
    band = random.choice((body, load, any_color(random)))
    braking = 0.6 if random.random() < 0.3 else 0.05
    rim = random.uniform(0.03, 0.4)
    lamp = 0.9 if random.random() < 0.15 else 0.1
    return {
        'body': Material(body, gloss=random.uniform(0.25, 0.8), macro=random.uniform(0, 0.08)),
        'glass': Material((0.012, 0.014, 0.016), gloss=random.uniform(0.2, 0.7)),
        'dark': DARK,
        'trim': random.choice((BLACK_TRIM, BLACK_TRIM, Material(body, gloss=0.4))),
        'plate': Material(random.choice(((0.8, 0.8, 0.78), (0.8, 0.8, 0.78), (0.75, 0.6, 0.08)))),
        'lamp': Material((0.62, 0.64, 0.66), gloss=0.7, emission=lamp),
        'tail': Material((0.42, 0.012, 0.012), gloss=0.4, emission=braking),
        'tyre': RUBBER,
        'rim': Material((rim, rim, rim * 1.03), gloss=0.4),
        'cargo': Material(
            load,
            texture(random, random.choice(('plain', 'rough', 'planks'))),
            gloss=0.15,
            macro=0.25,
        ),
        'stripe': Material(
            band, texture(random, random.choice(('plain', 'board', 'board'))), gloss=0.1
        ),
        'heap': Material((0.16, 0.12, 0.08), texture(random, 'soil')),
        'metal': Material((0.16, 0.16, 0.17), gloss=0.5),
        'seat': Material((0.02, 0.018, 0.016), gloss=0.1),
    }


def person(random: Random) -> Palette:
    """Return the palette of a pedestrian or a rider."""
    cloth = linear(random.choice(CLOTH_COLORS), random, 0.3)
    if random.random() < 0.12:
        cloth = any_color(random)
    rough = texture(random, 'rough')
    legs = linear(random.choice(LEG_COLORS), random, 0.3)
    return {
        'skin': Material(linear(random.choice(SKIN_COLORS), random)),
        'hair': Material(
            random.choice(((0.01, 0.009, 0.008), (0.04, 0.025, 0.015), (0.3, 0.2, 0.1)))
        ),
        'shirt': Material(cloth, rough),
        'jacket': Material(cloth, rough),
        'legs': Material(legs, rough),
        'shoes': Material(
            random.choice(((0.015, 0.014, 0.013), (0.5, 0.5, 0.5), (0.1, 0.06, 0.04)))
        ),
        'bag': Material(linear(random.choice(CLOTH_COLORS), random, 0.3), rough),
        'helmet': Material(linear(random.choice(CAR_COLORS), random), gloss=0.3),
    }


def building(random: Random) -> Palette:
    """Return the palette of a building."""
    odd = random.random() < 0.1
    wall = any_color(random) if odd else linear(random.choice(WALL_COLORS), random, 0.3)
    trim = random.choice((wall, linear(random.choice(WALL_COLORS), random)))
    macro = random.uniform(0.1, 0.5)
    return {
        'wall': Material(
            wall, texture(random, 'facade'), gloss=random.choice((0, 0, 0.1)), macro=macro
        ),
        'plinth': Material(
            wall, texture(random, random.choice(('rough', 'brick', 'rough'))), macro=macro
        ),
        'shop': Material(trim, texture(random, 'shop'), gloss=0.08),
        'trim': Material(trim, texture(random, 'rough'), macro=0.2),
        'door': Material(any_color(random), texture(random, 'planks')),
        'roof': Material(
            linear(random.choice(ROOF_COLORS), random), texture(random, 'roof'), macro=0.3
        ),
        'chimney': Material(linear((140, 80, 60), random), texture(random, 'brick')),
        'awning': Material(any_color(random), texture(random, 'planks')),
        'board': Material(any_color(random), texture(random, 'board')),
        'balcony': Material(trim, texture(random, 'bars')),
    }


def ground(random: Random, leaf: Color) -> Palette:
    """Return the palette of the road, paved ground and overgrown ground."""
    gray = random.uniform(0.07, 0.26)
    warm = random.uniform(-0.05, 0.12)
    road_color = (gray * (1 + warm), gray, gray * (1 - warm))
    if random.random() < 0.08:
        road_color = linear(random.choice(((150, 130, 105), (130, 90, 75), (70, 70, 80))))
    kind = 'paving' if random.random() < 0.08 else 'asphalt'
    wet = random.random() < 0.12
    road = Material(
        road_color, texture(random, kind), gloss=0.6 * wet, macro=random.uniform(0.1, 0.5)
    )
    walk = Material(
        linear(random.choice(WALK_COLORS), random, 0.25),
        texture(random, random.choice(('paving', 'paving', 'rough', 'asphalt'))),
        gloss=0.4 * wet,
        macro=random.uniform(0.1, 0.4),
    )
    red, green, blue = leaf
    soil = linear(random.choice(SOIL_COLORS))
    grass = Material((red * 0.9, green, blue * 0.7), texture(random, 'grass'), macro=0.4)
    earth = Material(soil, texture(random, 'soil'), macro=0.4)
    return {'road': road, 'walk': walk, 'grown': random.choice((grass, earth))}


def plant(random: Random, color: Color) -> Palette:
    """Return the palette of a tree, bush or hedge; ``color`` is the mean colour of the leaves."""
    kind = 'thin leaves' if random.random() < 0.15 else 'leaves'
    bark = random.uniform(0.03, 0.14)
    tone = random.uniform(1.0, 1.7)
    palette = {
        f'leaves {i}': Material(
            (color[0] * tone * share, color[1] * tone * share, color[2] * tone * share),
            texture(random, kind),
            cutout=True,
        )
        for i, share in enumerate((0.62, 0.95, 1.3))
    }
    leaf = palette['leaves 1'].color
    palette['trunk'] = Material((bark * 1.1, bark * 0.95, bark * 0.8), texture(random, 'soil'))
    palette['twigs'] = Material(
        (bark, bark * 0.85, bark * 0.75), texture(random, 'branches'), cutout=True
    )
    palette['hedge'] = Material(leaf, texture(random, 'hedge'), macro=0.3)
    return palette


def boundary(random: Random) -> Palette:
    """Return the palette of walls, fences and guard rails."""
    stone = linear(random.choice(WALL_COLORS), random, 0.3)
    wood = random.choice(
        (linear((120, 92, 64), random), linear((30, 60, 40), random), any_color(random), stone)
    )
    kind = random.choice(('planks', 'planks', 'bars', 'bars', 'wire'))
    steel = random.uniform(0.1, 0.4)
    return {
        'wall': Material(
            stone,
            texture(random, random.choice(('brick', 'rough', 'paving', 'rough'))),
            macro=random.uniform(0.2, 0.6),
        ),
        'cap': Material(linear(random.choice(WALL_COLORS), random), texture(random, 'rough')),
        'fence': Material(wood, texture(random, kind), cutout=kind != 'planks'),
        'post': Material(wood),
        'rail': Material((steel, steel, steel), gloss=0.2),
    }


def pole(random: Random) -> Palette:
    """Return the palette of poles and lamp posts."""
    gray = random.uniform(0.05, 0.4)
    color = random.choice(
        ((gray, gray, gray), (gray, gray, gray), (0.02, 0.03, 0.025), (0.14, 0.09, 0.06))
    )
    return {
        'pole': Material(color, texture(random, 'rough'), gloss=0.05),
        'lamp': Material((0.55, 0.55, 0.52), gloss=0.2),
    }


def traffic_light(random: Random) -> Palette:
    """Return the palette of a traffic light."""
    case = random.choice(
        ((0.015, 0.016, 0.016), (0.015, 0.016, 0.016), (0.55, 0.42, 0.02), (0.05, 0.1, 0.06))
    )
    return {
        'case': Material(case, gloss=0.05),
        'back': random.choice((DARK, Material(case))),
        'off': Material((0.02, 0.02, 0.02)),
        'red': Material((0.9, 0.05, 0.03), emission=1.0),
        'amber': Material((0.9, 0.45, 0.03), emission=1.0),
        'green': Material((0.06, 0.8, 0.4), emission=1.0),
    }


def sign(random: Random) -> tuple[str, Palette]:
    """Return the shape and the palette of a traffic sign."""
    shape, *colors = random.choice(SIGN_STYLES)
    edge, face, mark = (linear(_SIGN_COLORS[color], random) for color in colors)
    return shape, {
        'edge': Material(edge),
        'face': Material(face),
        'mark': Material(mark, texture(random, 'plain')),
        'back': Material((0.25, 0.25, 0.25)),
    }


def furniture(random: Random) -> Palette:
    """Return the palette of street furniture."""
    return {
        'paint': Material(random.choice(((0.03, 0.07, 0.04), (0.1, 0.1, 0.1), any_color(random)))),
        'metal': Material((0.12, 0.12, 0.13), gloss=0.2),
        'wood': Material((0.2, 0.12, 0.06), texture(random, 'planks')),
        'roof': Material(any_color(random)),
        'board': Material((0.5, 0.5, 0.5), texture(random, 'board')),
        'orange': Material(
            random.choice(((0.75, 0.12, 0.02), (0.6, 0.05, 0.04), (0.7, 0.7, 0.68)))
        ),
    }
