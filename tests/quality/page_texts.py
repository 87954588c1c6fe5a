"""What stands on the made pages: study notes in three languages, written for this, with the accents, numbers and brackets of real ones.

All characters are in Windows-1252, which the standard fonts of PDF have.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notes:
    """Half a page: a heading and paragraphs."""

    language: str
    heading: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n\n".join([self.heading, *self.paragraphs])


@dataclass(frozen=True)
class Table:
    """A caption above, and rows of cells, the first of which are their headings."""

    language: str
    caption: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        return "\n".join([self.caption, *(" ".join(row) for row in self.rows)])


ENGLISH = (
    Notes(
        "en",
        "4.2 Enzymes and activation energy",
        (
            "An enzyme lowers the activation energy of a reaction without being used up. At 37 °C most human "
            "enzymes work best; above 45 °C they lose their shape, and with it the active site. The substrate "
            "fits the site much as a key fits its lock, although Koshland (1958) showed that both change their "
            'form when they meet: he called this "induced fit".',
            "The rate follows v = Vmax [S] / (Km + [S]). When [S] is far below Km, doubling the substrate "
            "nearly doubles the rate; when it is far above, nothing is gained, because every molecule of the "
            "enzyme is busy already. A competitive inhibitor raises Km and leaves Vmax as it was.",
            "Remember for the exam: (a) temperature, (b) pH and (c) concentration all matter, but only the "
            "first two can destroy the enzyme for good.",
        ),
    ),
    Notes(
        "en",
        "Chapter 7: Supply, demand and the price of bread",
        (
            "In the spring of 1795 a loaf cost twice what it had cost two years before. Bad harvests had cut "
            "the supply by roughly 15%, yet people went on buying: demand for bread is inelastic, since there "
            "is little else to eat. A shortage of 15% therefore drove the price up by 100%, not by 15%.",
            "Elasticity is the percentage change of quantity divided by the percentage change of price. If the "
            "price of tea rises from $4.00 to $5.00 and sales fall from 1,200 to 900 boxes a week, the change "
            "is -25% over +25%, so that the elasticity is -1.0.",
            "Governments that fix a price below the market's find queues in front of the shops; those that fix "
            "it above find warehouses full of butter. Neither outcome surprises anyone who has drawn both curves.",
        ),
    ),
)

SPANISH = (
    Notes(
        "es",
        "3.1 La fotosíntesis y el ciclo de Calvin",
        (
            "¿De dónde procede el oxígeno que respiramos? Durante mucho tiempo se pensó que venía del dióxido de "
            "carbono; hoy sabemos que las plantas lo obtienen al romper moléculas de agua. Esta reacción ocurre "
            "en los tilacoides, gracias a la luz que absorbe la clorofila, y libera además protones y electrones.",
            "La segunda fase no necesita luz. En el estroma, la enzima RuBisCO fija el CO2 y, después de seis "
            "vueltas del ciclo, se forma una molécula de glucosa. Según los cálculos más recientes, cada año se "
            "fijan así unas 120.000 millones de toneladas de carbono.",
            "¡Atención! No confundas la respiración celular con la fotosíntesis: la primera ocurre también de "
            "noche, y en todos los órganos de la planta, desde la raíz hasta las últimas hojas.",
        ),
    ),
    Notes(
        "es",
        "Tema 9. La crisis del Antiguo Régimen en España",
        (
            "En 1808, tras las abdicaciones de Bayona, el país quedó sin un rey reconocido por todos. Las juntas "
            "provinciales asumieron el poder «en nombre de la nación», una expresión que aún sonaba extraña. "
            "Dos años más tarde se reunieron las Cortes en la isla de León, cerca de Cádiz.",
            "La Constitución de 1812 constaba de 384 artículos. Reconocía la soberanía nacional y la división de "
            "poderes, y suprimía los señoríos; sin embargo, mantuvo la religión católica como única. Fernando "
            "VII la abolió en cuanto regresó, y así comenzó un sexenio de persecución.",
            "Preguntas: ¿quién podía votar?, ¿qué límites tenía el rey?, ¿por qué fracasó la reforma de la "
            "hacienda? Compárese la respuesta con la de Jovellanos (1795).",
        ),
    ),
)

GERMAN = (
    Notes(
        "de",
        "2.4 Die Gärung und ihre Anwendungen",
        (
            "Hefezellen können auch ohne Sauerstoff überleben. Dabei wird Brenztraubensäure zu Ethanol und "
            "Kohlenstoffdioxid abgebaut; pro Molekül Glucose gewinnt die Zelle nur zwei ATP statt ungefähr "
            "dreißig. Für das Bäckerhandwerk genügt das völlig: Das Gas lockert den Teig, der Alkohol "
            "verdunstet im heißen Ofen.",
            "Außerdem gibt es die Milchsäuregärung. Sie läuft in überanstrengten Muskeln ab, wenn die "
            "Durchblutung nicht mehr ausreicht, und beim Säuern von Weißkohl (Sauerkraut). Louis Pasteur wies "
            "1857 nach, dass dafür Lebewesen nötig sind – zuvor hatte man die Gärung für rein chemisch gehalten.",
            "Übungsaufgabe: Wie viel Gramm Ethanol entstehen höchstens aus 90 g Glucose? Begründe kurz und "
            "gib die Lösung auf 0,1 g genau an.",
        ),
    ),
    Notes(
        "de",
        "Kapitel 6: Wahrscheinlichkeit und Häufigkeit",
        (
            "Ein Würfel wird 600-mal geworfen. Die Zahl der Sechsen schwankt dann um den Erwartungswert 100 mit "
            "einer Standardabweichung von etwa 9,1. Größere Abweichungen als 30 sind äußerst selten, aber "
            "nicht unmöglich; wer sie beobachtet, sollte zunächst den Würfel prüfen.",
            "Das Gesetz der großen Zahlen besagt, dass sich die relative Häufigkeit der Wahrscheinlichkeit "
            "nähert. Es besagt nicht, dass nach vielen Misserfolgen ein Treffer »überfällig« wäre: Die "
            "Würfe sind unabhängig, und der Würfel hat kein Gedächtnis.",
            "Für zwei unabhängige Ereignisse gilt P(A und B) = P(A) · P(B). Beispiel: Die Wahrscheinlichkeit, "
            "zweimal hintereinander eine Sechs zu würfeln, beträgt 1/36, also knapp 2,8 %.",
        ),
    ),
)

# With soft hyphens where a narrow column may part a word; "light-dependent" has a hyphen of its own.
HYPHENATED = (
    Notes(
        "en",
        "Photo\u00adsyn\u00adthe\u00adsis in brief",
        (
            "The light-dependent re\u00adac\u00adtions take place in the thy\u00adla\u00adkoid mem\u00adbranes, where "
            "chlo\u00adro\u00adphyll ab\u00adsorbs ra\u00addi\u00ada\u00adtion; wa\u00adter mol\u00ade\u00adcules are split, "
            "ox\u00ady\u00adgen is re\u00adleased, and the en\u00ader\u00adgy of the elec\u00adtrons is con\u00adserved in "
            "com\u00adpounds that the fol\u00adlow\u00ading stage re\u00adquires. The light-dependent part is in\u00adhib\u00adit\u00aded "
            "by her\u00adbi\u00adcides such as at\u00adra\u00adzine.",
            "The Cal\u00advin cy\u00adcle in\u00adcor\u00adpo\u00adrates car\u00adbon di\u00adox\u00adide in\u00adto or\u00adgan\u00adic "
            "mat\u00adter. Its most im\u00adpor\u00adtant en\u00adzyme is prob\u00ada\u00adbly the most abun\u00addant pro\u00adtein "
            "of our plan\u00adet, al\u00adthough it works re\u00admark\u00ada\u00adbly slow\u00adly.",
        ),
    ),
    Notes(
        "de",
        "Ver\u00adfas\u00adsungs\u00adge\u00adschich\u00adte",
        (
            "Die Na\u00adtio\u00adnal\u00adver\u00adsamm\u00adlung in der Frank\u00adfur\u00adter Pauls\u00adkir\u00adche "
            "ver\u00adab\u00adschie\u00adde\u00adte "
            "zu\u00adnächst die Grund\u00adrech\u00adte: Mei\u00adnungs- und Pres\u00adse\u00adfrei\u00adheit, Ver\u00adsamm\u00adlungs\u00adfrei\u00adheit "
            "so\u00adwie die Gleich\u00adheit vor dem Ge\u00adsetz. Der Kö\u00adnig von Preu\u00adßen lehn\u00adte die an\u00adge\u00adbo\u00adte\u00adne "
            "Kai\u00adser\u00adwür\u00adde je\u00addoch ab, und die öster\u00adrei\u00adchi\u00adschen Ab\u00adge\u00adord\u00adne\u00adten wur\u00adden "
            "zu\u00adrück\u00adbe\u00adru\u00adfen.",
            "Den\u00adnoch blieb der Ent\u00adwurf wirk\u00adsam: Zahl\u00adrei\u00adche For\u00admu\u00adlie\u00adrun\u00adgen keh\u00adren in der "
            "Wei\u00adma\u00adrer Ver\u00adfas\u00adsung und im Grund\u00adge\u00adsetz wie\u00adder.",
        ),
    ),
)

NOTES = (ENGLISH[0], SPANISH[0], GERMAN[0], ENGLISH[1], SPANISH[1], GERMAN[1])

TABLES = (
    Table(
        "en",
        "Table 3. Planets of the inner solar system",
        (
            ("Planet", "Diameter (km)", "Day", "Moons", "Year"),
            ("Mercury", "4,879", "58.6 d", "0", "88 d"),
            ("Venus", "12,104", "243 d", "0", "225 d"),
            ("Earth", "12,756", "23.9 h", "1", "365 d"),
            ("Mars", "6,792", "24.6 h", "2", "687 d"),
            ("Ceres", "939", "9.1 h", "0", "4.6 y"),
        ),
    ),
    Table(
        "es",
        "Cuadro 2. Población y superficie de algunas regiones",
        (
            ("Región", "Población", "Superficie", "Capital"),
            ("Aragón", "1.326.315", "47.720 km²", "Zaragoza"),
            ("Cantabria", "585.402", "5.321 km²", "Santander"),
            ("Castilla y León", "2.383.139", "94.226 km²", "Valladolid"),
            ("Extremadura", "1.059.501", "41.634 km²", "Mérida"),
            ("La Rioja", "319.796", "5.045 km²", "Logroño"),
        ),
    ),
    Table(
        "de",
        "Tabelle 5: Schmelz- und Siedepunkte bei 1013 hPa",
        (
            ("Stoff", "Schmelzpunkt", "Siedepunkt", "Verwendung im Unterricht"),
            ("Wasser", "0,0 °C", "100,0 °C", "Lösungsmittel für Salze und Säuren"),
            ("Ethanol", "-114,1 °C", "78,3 °C", "Extraktion von Blattgrün aus Blättern"),
            ("Quecksilber", "-38,8 °C", "356,7 °C", "nur noch im geschlossenen Thermometer"),
            ("Naphthalin", "80,3 °C", "218,0 °C", "Messung einer Abkühlungskurve"),
            ("Schwefel", "115,2 °C", "444,6 °C", "Nachweis zweier Kristallformen"),
        ),
    ),
    Table(
        "en",
        "Glossary for the written exam in biology",
        (
            ("Term in English", "What it means, in your own words"),
            ("Osmosis", "Water passes a membrane towards the stronger solution"),
            ("Active transport", "Uses ATP to move ions uphill"),
            ("Homologous pair", "Two chromosomes with the same genes"),
            ("Semi-conservative copying", "Each new molecule keeps one old strand of the DNA"),
            ("Competitive exclusion", "Two species, one niche: one of them goes"),
            ("Negative feedback", "A change sets off what undoes it"),
            ("Carrying capacity", "The largest population that can live there for good"),
        ),
    ),
)
