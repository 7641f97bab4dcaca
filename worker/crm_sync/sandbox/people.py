"""Realistic sample people for a demo: most can become contacts of a CRM, some cannot, with the reason.

None of them can be reached: addresses are in domains reserved for examples (RFC 2606), telephone numbers in ranges that national
regulators reserve for fiction.
"""

import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["ok", "shared_phone", "duplicate_email", "invalid_email", "no_email", "bad_phone"]

# Shares of all people.
SHARES: dict[Kind, float] = {
    "ok": 0.9,
    "shared_phone": 0.025,
    "duplicate_email": 0.025,
    "invalid_email": 0.02,
    "no_email": 0.015,
    "bad_phone": 0.015,
}
# Shares of the people concerned.
PHONE_SHARE = 0.75
COMPANY_SHARE = 0.8
JOB_TITLE_SHARE = 0.7
REMARKABLE_NAME_SHARE = 0.05
OTHER_SCRIPT_SHARE = 0.1
PLUS_TAG_SHARE = 0.05

LONGEST_LOCAL_NAME = 40  # of the 64 characters that an address may have before the @: a number and a tag may follow


@dataclass(frozen=True, slots=True)
class Person:
    """kind: what should happen to the person if all previous ones are already in the CRM.

    shared_phone: an earlier person has the same number. duplicate_email: an earlier person again, sometimes with the address
    spelt differently. invalid_email, bad_phone: malformed. no_email: None or blank.
    """

    email: str | None
    first_name: str
    last_name: str
    phone: str | None
    company: str | None
    job_title: str | None
    city: str
    country: str
    kind: Kind


# City, country, start of the fictitious numbers, how many digits follow. NANPA (555-0100 to 0199), Ofcom, ARCEP,
# Bundesnetzagentur and ACMA each publish numbers for use in drama.
PLACES = (
    ("New York", "United States", "+121255501", 2),
    ("San José", "United States", "+140855501", 2),
    ("Toronto", "Canada", "+141655501", 2),
    ("Montréal", "Canada", "+151455501", 2),
    ("London", "United Kingdom", "+442079460", 3),
    ("Leeds", "United Kingdom", "+441134960", 3),
    ("Cardiff", "United Kingdom", "+447700900", 3),
    ("Paris", "France", "+3319900", 4),
    ("Saint-Étienne", "France", "+3346571", 4),
    ("Nîmes", "France", "+3363998", 4),
    ("Toulouse", "France", "+3353649", 4),
    ("Berlin", "Germany", "+493023125", 3),
    ("Köln", "Germany", "+492214710", 3),
    ("München", "Germany", "+498999998", 3),
    ("Frankfurt am Main", "Germany", "+496990009", 3),
    ("Sydney", "Australia", "+6125550", 4),
    ("Melbourne", "Australia", "+6135550", 4),
)
# Coprime with every power of ten: the numbers of a place are scattered, without repeats.
PHONE_STRIDE = 7919

FIRST_NAMES = (
    *("Anna", "Ben", "Chloé", "David", "Élodie", "François", "Grace", "Håkon", "Inés", "Jürgen"),
    *("Katarzyna", "Liam", "María José", "Noël", "Oluwaseun", "Priya", "Quentin", "Renée", "Siobhán"),
    *("Tomáš", "Ülkü", "Violeta", "William", "Xiomara", "Yasmin", "Zoë", "Anne-Marie", "Jean-Luc", "D'Arcy"),
)
LAST_NAMES = (
    *("Smith", "Müller", "Lefèvre", "García", "O'Brien", "O\u2019Connor", "D'Angelo", "Nowak", "Núñez"),
    *("Ørsted", "Ångström", "Świątek", "Çelik", "Nguyễn", "Okafor", "Patel", "Jones", "Weiß", "van der Berg"),
    *("de la Cruz", "Smith-Jones", "Fitz-Gérald", "Þórsdóttir", "Žižek", "Brown", "Martin", "Kovács"),
)
# With their spelling in an address.
NAMES_IN_OTHER_SCRIPTS = (
    *(("Олена", "Шевченко", "olena.shevchenko"), ("Дмитро", "Коваль", "d.koval")),
    *(("Ελένη", "Παπαδοπούλου", "eleni.papadopoulou"), ("Γιώργος", "Νικολάου", "gnikolaou")),
    *(("فاطمة", "الحسن", "fatima.alhassan"), ("נועה", "כהן", "noa.cohen"), ("지우", "김", "jiwoo.kim")),
    *(("花子", "山田", "hanako_yamada"), ("太郎", "佐藤", "sato.taro"), ("小明", "王", "wangxiaoming")),
    *(("अनन्या", "शर्मा", "ananya.sharma"), ("ธนากร", "สุขใจ", "thanakorn.s"), ("Ngọc", "Trần", "ngoc.tran")),
)
# Names that have broken software before.
REMARKABLE_NAMES = (
    ("Jennifer", "Null"),
    ("Christopher", "True"),
    ("Ana 🌻", "Ruiz"),
    ("Max", "Power 🚀"),
    ("👩‍🚀 Sally", "Orbit"),
    ("Robert 'Bobby'", "Tables; Jr."),
    ('William "Bill"', "Ó Súilleabháin"),
    ("Semi;colon", "Comma, Ltd."),
    ("Back\\slash", "Per%cent"),
    ("Ada <ada>", "Angle & Bracket"),
    ("X", "Æ"),
    ("Zoe\u0308", "Brontë"),  # The diaeresis is a separate character.
    ("Maximiliana Wilhelmina Theodora", "von und zu Hohenstein-Wartenburg-Lichtenfels"),
)
DOMAINS = (
    *("example.com", "example.org", "example.net", "mail.example.com", "eu.example.org", "post.example.net"),
    *("staff.london.example.com", "my-company.example", "bakery.test"),
)
COMPANIES = (
    *("Northwind Trading", "Müller & Söhne GmbH", "L'Atelier du Pain", "Smith; Jones & Co.", "Café Zürich"),
    *("O'Malley's Garage", 'The "Blue" Door', "Kopernik sp. z o.o.", "Null Island Tours", "株式会社サンプル"),
)
JOB_TITLES = (
    *("Head of Sales", "CEO", "Assistant", "Développeuse", "Geschäftsführer", "R&D Engineer", "営業部長"),
    *("Office Manager", "Jefa de Proyecto", "VP, Marketing", "Director; Owner"),
)
# How an address is made invalid: {local} and {domain} are those of a valid one.
INVALID_EMAILS = (
    *("{local}", "{local}.{domain}", "{local}@", "@{domain}", "{local}@@{domain}", "{local} @{domain}"),
    *("{local}@{domain}.", "{local}@.{domain}", "{local}..x@{domain}", ".{local}@{domain}"),
    *("{local}@localhost", "{local}@example,com", "{local}@exam ple.com", "{local}@example..com"),
    *("{local}@-{domain}", "{local}@{domain}/", "{local}@{domain};second@example.org"),
    *("<{local}@{domain}>", "{local} at {domain}", "n/a", "none"),
)
NO_EMAILS = (None, "", " ", "   ", "\t")
BAD_PHONES = (
    *("n/a", "-", "unknown", "call me", "12345", "+", "4.47E+11", "+44 NO CALLS", "0", "see e-mail"),
    *("+123456789012345678901234", "ext. 12", "?"),
)
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    str.title,
    lambda email: f" {email}",
    lambda email: f"{email}  ",
    lambda email: f"\t{email.capitalize()} ",
)
LETTERS_WITHOUT_PARTS = str.maketrans({"ł": "l", "ø": "o", "æ": "ae", "þ": "th"})
LOCAL_PATTERNS = ("{first}.{last}", "{first}.{last}", "{first}{last}", "{first}_{last}", "{last}.{first}")
PLUS_TAGS = ("news", "crm", "2026", "shop-7")


def people(count: int, seed: int) -> Iterator[Person]:
    """The same people for the same seed; the first n do not depend on `count`."""
    crowd = _Crowd(random.Random(seed))  # noqa: S311 (reproducible sample data)
    for _ in range(count):
        yield crowd.next_person()


class _Crowd:
    """Remembers the people it has made: an address or number is used once, and again only on purpose."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.good: list[Person] = []
        self.phones: list[str] = []
        self._addresses_given: Counter[str] = Counter()
        self._phones_given: Counter[str] = Counter()

    def next_person(self) -> Person:
        kind = self._next_kind()
        if kind == "duplicate_email":
            earlier = self.chance.choice(self.good)
            email = self.chance.choice(SPELLINGS)(str(earlier.email))
            # With the same number: another one would free the earlier one for a shared_phone.
            return replace(earlier, email=email, job_title=self._job_title(), kind=kind)
        first_name, last_name, local = self._next_name()
        city, country, start, digits = self.chance.choice(PLACES)
        person = Person(
            email=self._email(kind, local, self.chance.choice(DOMAINS)),
            first_name=first_name,
            last_name=last_name,
            phone=self._phone(kind, start, digits),
            company=self.chance.choice(COMPANIES) if self.chance.random() < COMPANY_SHARE else None,
            job_title=self._job_title(),
            city=city,
            country=country,
            kind=kind,
        )
        if kind == "ok":
            self.good.append(person)
            self.phones += [person.phone] if person.phone else []
        return person

    def _next_kind(self) -> Kind:
        # Until someone has a number, there is none to share.
        return self.chance.choices(list(SHARES), list(SHARES.values()))[0] if self.phones else "ok"

    def _next_name(self) -> tuple[str, str, str]:
        """First name, last name and their spelling in an address."""
        if self.chance.random() < OTHER_SCRIPT_SHARE:
            return self.chance.choice(NAMES_IN_OTHER_SCRIPTS)
        if self.chance.random() < REMARKABLE_NAME_SHARE:
            first, last = self.chance.choice(REMARKABLE_NAMES)
        else:
            first, last = self.chance.choice(FIRST_NAMES), self.chance.choice(LAST_NAMES)
        pattern = self.chance.choice(LOCAL_PATTERNS)
        return first, last, pattern.format(first=_spelt(first), last=_spelt(last))

    def _email(self, kind: Kind, local: str, domain: str) -> str | None:
        if kind == "no_email":
            return self.chance.choice(NO_EMAILS)
        if kind == "invalid_email":
            return self.chance.choice(INVALID_EMAILS).format(local=local, domain=domain)
        local = local[:LONGEST_LOCAL_NAME].rstrip(".-_")
        self._addresses_given[f"{local}@{domain}"] += 1
        namesakes = self._addresses_given[f"{local}@{domain}"]
        number = namesakes if namesakes > 1 else ""
        tag = f"+{self.chance.choice(PLUS_TAGS)}" if self.chance.random() < PLUS_TAG_SHARE else ""
        return f"{local}{number}{tag}@{domain}"

    def _phone(self, kind: Kind, start: str, digits: int) -> str | None:
        """None also if the range of numbers is used up."""
        if kind == "bad_phone":
            return self.chance.choice(BAD_PHONES)
        if kind == "shared_phone":
            return self.chance.choice(self.phones)
        if self._phones_given[start] == 10**digits or self.chance.random() >= PHONE_SHARE:
            return None
        self._phones_given[start] += 1
        return f"{start}{self._phones_given[start] * PHONE_STRIDE % 10**digits:0{digits}}"

    def _job_title(self) -> str | None:
        return self.chance.choice(JOB_TITLES) if self.chance.random() < JOB_TITLE_SHARE else None


def _spelt(name: str) -> str:
    """Letters that an address may have: Élodie becomes elodie, van der Berg becomes vanderberg."""
    letters = unicodedata.normalize("NFKD", name.casefold().translate(LETTERS_WITHOUT_PARTS))
    return "".join(letter for letter in letters if letter.isascii() and letter.isalnum())
