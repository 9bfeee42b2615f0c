"""Words and numbers for the tables, divided into a training and a held-out part by a hash.

A word belongs to exactly one part, whichever list it came from and wherever it is used; the parts share nothing but
small numbers, formats (``@example.com``, ``kg``) and place-name prefixes (``New``, ``Port``).
"""

import random
import zlib

from faker.providers.address import Provider as _CountryProvider
from faker.providers.address.en_US import Provider as _AddressProvider
from faker.providers.color.en_US import Provider as _ColorProvider
from faker.providers.job.en_US import Provider as _JobProvider
from faker.providers.lorem.en_US import Provider as _LoremProvider
from faker.providers.person.de_DE import Provider as _GermanNames
from faker.providers.person.en_GB import Provider as _BritishNames
from faker.providers.person.en_US import Provider as _AmericanNames
from faker.providers.person.it_IT import Provider as _ItalianNames


def _split(text: str) -> list[str]:
    return text.split()


TRAIN = "train"
HELD_OUT = "held_out"

# One word in ten is held out. So is everything in the table of the README, whatever its hash.
_HELD_OUT_ONE_IN = 10
_ALWAYS_HELD_OUT = frozenset(
    _split("""
    alice smith bob johnson carol white david brown eve wilson engineering marketing sales york chicago boston seattle
    austin 85000 65000 75000 90000 70000
    """)
)
# Numbers below this occur in both parts: there are too few ages, scores and row numbers to divide.
SMALL_NUMBER = 100

_DEPARTMENTS = _split("""
    Engineering Marketing Sales Finance Legal Research Design Support Logistics Security Operations Accounting
    Training Purchasing Production Quality Maintenance Planning Analytics Compliance Recruiting Procurement
    Facilities Strategy Communications Payroll Audit Treasury Manufacturing Distribution Administration Innovation
    Publishing Risk Travel Infrastructure Platform Hardware Software Data Mobile Cloud Network Testing Content Media
    Events Partnerships Growth Retail Wholesale Export Import Claims Underwriting Tax Investment Health Safety
    Warehouse Transport
""")
_CITIES = _split("""
    York Chicago Boston Seattle Austin Paris London Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Oslo
    Stockholm Helsinki Copenhagen Athens Budapest Denver Dallas Houston Phoenix Miami Atlanta Portland Detroit
    Memphis Nashville Baltimore Tampa Omaha Tucson Oakland Cleveland Raleigh Toronto Montreal Vancouver Calgary
    Sydney Melbourne Perth Auckland Tokyo Osaka Kyoto Seoul Beijing Shanghai Delhi Mumbai Cairo Lagos Nairobi Lima
    Bogota Santiago Havana Munich Hamburg Zurich Geneva Lyon Milan Turin Naples Porto Valencia Seville Krakow Leeds
    Bristol Glasgow Cardiff Orlando Buffalo Richmond Charlotte Columbus Jacksonville Albany Madison Boise Salem
    Lincoln Trenton Dover Utrecht Antwerp Ghent Malmo Bergen Tallinn Riga Vilnius Sofia Zagreb Belgrade Istanbul
    Ankara Tehran Baghdad Doha Dubai
""")
_THINGS = _split("""
    Lamp Chair Table Desk Phone Laptop Tablet Monitor Keyboard Mouse Printer Camera Speaker Headset Router Cable
    Charger Battery Backpack Bottle Mug Kettle Toaster Blender Oven Fridge Heater Fan Clock Watch Ring Scarf Jacket
    Shirt Boots Sandals Gloves Hat Umbrella Tent Stove Lantern Rope Hammer Drill Saw Wrench Ladder Paint Brush
    Carpet Curtain Pillow Blanket Towel Soap Candle Vase Mirror Shelf Sofa Bench Stool Guitar Piano Drum Violin
    Flute Bicycle Scooter Helmet Skateboard Racket Ball Puzzle Robot Drone Novel Notebook Pencil Pen Marker Stapler
    Envelope Folder Scissors Ruler
""")
_LANGUAGES = _split("""
    English French German Spanish Italian Dutch Polish Czech Greek Turkish Arabic Hindi Bengali Urdu Swahili
    Japanese Korean Chinese Russian Finnish Swedish Danish Norwegian Hungarian Romanian Bulgarian Serbian Croatian
    Hebrew Persian Thai Malay Vietnamese Portuguese Catalan Basque Welsh Irish Icelandic Latvian Estonian Maltese
    Tamil Telugu Zulu
""")
CITY_PREFIXES = ("New", "San", "Port", "Lake", "North", "East", "West", "South", "Los", "Saint")

_ONSETS = _split("b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl pr sh st th tr")
_VOWELS = _split("a e i o u a e i o u ai ea ee io oa ou")
_CODAS = ["", "", "", "", "", *_split("b d g k l m n p r s t x ck ll nd nt rd rn st")]


def part_of(word: str) -> str:
    """Which part a word or a number belongs to (upper and lower case together)."""
    word = word.lower()
    if word in _ALWAYS_HELD_OUT or zlib.crc32(word.encode()) % _HELD_OUT_ONE_IN == 0:
        return HELD_OUT
    return TRAIN


def _plain(words: list[str] | tuple[str, ...]) -> list[str]:
    return sorted({word for word in words if word.isascii() and word.isalpha() and word[1:].islower()})


class Words:
    """Random words and numbers of one part."""

    def __init__(self, part: str, rng: random.Random) -> None:
        self.part = part
        self.rng = rng
        people = (_AmericanNames, _BritishNames, _GermanNames, _ItalianNames)
        self._lists = {
            "first": self._mine([name for p in people for name in p.first_names]),
            "last": self._mine([name for p in people for name in p.last_names]),
            "department": self._mine(_DEPARTMENTS),
            "city": self._mine(_CITIES),
            "thing": self._mine(_THINGS),
            "language": self._mine(_LANGUAGES),
            "country": self._mine([*_CountryProvider.countries, *_AddressProvider.states]),
            "color": self._mine(list(_ColorProvider.all_colors)),
            "job": self._mine([w.capitalize() for job in _JobProvider.jobs for w in job.replace(",", "").split()]),
            "word": self._mine([word.capitalize() for word in _LoremProvider.word_list]),
        }

    def _mine(self, words: list[str] | tuple[str, ...]) -> list[str]:
        return [word for word in _plain(words) if part_of(word) == self.part]

    def pick(self, name: str, invented: float = 0.4) -> str:
        """A word of the named list, or with probability ``invented`` a made-up one."""
        if self.rng.random() < invented:
            return self.invent()
        return self.rng.choice(self._lists[name])

    def invent(self) -> str:
        """A made-up word of this part, capitalised."""
        while True:
            count = self.rng.choice((1, 2, 2, 2))
            pieces = [self.rng.choice(_ONSETS) + self.rng.choice(_VOWELS) + self.rng.choice(_CODAS) for _ in range(count)]
            word = "".join(pieces)
            if len(word) > 2 and part_of(word) == self.part:
                return word.capitalize()

    def number(self, low: int, high: int, step: int = 1) -> int:
        """A multiple of ``step`` in [low, high] of this part; numbers below SMALL_NUMBER belong to both parts."""
        while True:
            value = self.rng.randrange(-(-low // step), high // step + 1) * step
            if value < SMALL_NUMBER or part_of(str(value)) == self.part:
                return value
