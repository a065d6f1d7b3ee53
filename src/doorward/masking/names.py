"""What a column's name says of what is in it: names, addresses, dates of birth and numbers that no content check can find.

Contract: `suggest` gives a label for a column name, or none; `suggested` for every column of a catalogue that has none
yet. A name is read as words (`firstName`, `FIRST_NAME` and `first-name` are the same), in the languages that schemas
are written in. Whether that masks or is only proposed, `masking.column_names` says (`labelling`). It knows nothing of
what is stored: `name` alone says nothing, nor does `c17`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

# Label, and the words that mean it, in lower case and joined by one blank. `*` before or after: more words may stand
# there; `+` after: the word may go on.
MEANINGS: tuple[tuple[str, str], ...] = (
    (
        "password",
        "password*, passwd+, pwd, pass hash, passphrase, *password, *passwd, kennwort, passwort, mot de passe, "
        "contrasena, *pin code, pincode, security answer",
    ),
    (
        "secret",
        "*api key, *apikey, *secret, *secret key, *access key, *access token, *auth token, *refresh token, "
        "*session token, *private key, *client secret, *webhook token, totp*, mfa secret, *credential, "
        "*credentials, recovery code*, backup code*",
    ),
    (
        "card",
        "card number, card no, cc number, cc num, *credit card, *credit card number, *debit card, pan, *card pan, "
        "kreditkarte+, tarjeta*, cvv, cvc, cvv 2, cvc 2, *card cvv, card verification*",
    ),
    (
        "iban",
        "iban, *iban",
    ),
    (
        "bank_account",
        "bank account*, account number, account no, acct no, acct number, routing number, sort code, kontonummer, "
        "konto nr, numero cuenta, bic, swift*",
    ),
    (
        "ssn",
        "ssn, *ssn, ssn last 4, social security*, *social security number",
    ),
    (
        "national_id",
        "*national id, national id*, *national identity*, *identity number, id card*, *personal id, personal "
        "code, *tax id, *taxpayer id, tin, *tax number, steuer id, steuernummer, nino, national insurance*, nhs "
        "number, nhs no, bsn, burgerservicenummer, pesel, *cpf, cnp, egn, oib, jmbg, emso, amka, nif, nie, dni, "
        "curp, rfc, rut, cuit, cuil, codice fiscale, cod fiscale, personnummer, person nr, fodselsnummer, fnr, "
        "cpr, cpr nr, hetu, henkilotunnus, isikukood, asmens kodas, personas kods, rodne cislo, aadhaar*, "
        "aadhar*, pan no, pan number, nric, hkid, my number, tckn, tc kimlik*, kimlik no, teudat zehut, sin, "
        "social insurance*, tfn, tax file number, medicare*, rijksregisternummer, niss, nir, numero secu*, snils, "
        "ahv*, avs*, svnr, sozialversicherung+, cedula, identity no",
    ),
    (
        "passport",
        "passport*, *passport number, *passport no, reisepass+, pasaporte",
    ),
    (
        "driving_licence",
        "driver license*, drivers license*, driver licence*, driving licence*, driving license*, license plate, "
        "licence plate, fuhrerschein+, dl number",
    ),
    (
        "date_of_birth",
        "dob, *dob, birth date, birthdate, *date of birth, *birth date, birthday, born on, born at, birth day, "
        "birth year, year of birth, geburtsdatum, geburtstag, date naissance, fecha nacimiento, data nascita, "
        "data nascimento, geboortedatum, syntymaaika, fodelsedatum, data urodzenia",
    ),
    (
        "name",
        "first name, firstname, fname, given name, given names, forename, middle name, middlename, last name, "
        "lastname, lname, surname, family name, maiden name, *maiden name, full name, fullname, *full name, "
        "person name, customer name, client name, patient name, employee name, contact name, holder name, "
        "*cardholder*, *account holder, beneficiary name, *first name, *last name, nickname, vorname, nachname, "
        "familienname, prenom, nom famille, nom de famille, apellido, apellidos, apellido paterno, apellido "
        "materno, cognome, sobrenome, voornaam, achternaam, imie, nazwisko, etunimi, sukunimi, fornamn, "
        "efternamn, display name, real name, legal name",
    ),
    (
        "address",
        "address, *address line, address line*, address 1, address 2, addr, addr 1, addr 2, *street, street*, *street "
        "address, home address, *postal address, mailing address, billing address*, shipping address*, delivery "
        "address*, residence, house number, house no, postcode, post code, postal code, zip, zip code, zipcode, "
        "strasse, hausnummer, plz, postleitzahl, anschrift, adresse*, direccion, calle, codigo postal, indirizzo, "
        "endereco, cep, straat, adres, ulica, rue, code postal",
    ),
    (
        "location",
        "latitude, longitude, lat, lon, lng, *latitude, *longitude, gps*, geo location, geolocation, home "
        "location",
    ),
    (
        "email",
        "*email, email*, *e mail, e mail*, mail address, *mail address, correo*, courriel",
    ),
    (
        "phone",
        "*phone, phone*, *phone number, telephone*, *telephone, mobile, mobile no, mobile number, *mobile number, "
        "cell number, cellphone, msisdn, *msisdn, fax, fax number, telefon+, handy, tel, tel no, telefono+, "
        "movil, whatsapp*",
    ),
    (
        "ip",
        "ip, *ip address, ip address*, ip addr, *remote ip, *client ip, *last ip, remote addr, *login ip, ipv 4*, "
        "ipv 6*",
    ),
    (
        "device",
        "mac address, *mac address, imei, imsi, device id, device serial*, advertising id, idfa, gaid",
    ),
    (
        "health",
        "diagnosis*, *diagnosis, icd 10*, icd code, medical record*, mrn, prescription*, blood type, blood group, "
        "allerg+, disability+, health insurance*, insurance policy no",
    ),
    (
        "special_category",
        "religion, religious*, ethnicity, *ethnic origin, sexual orientation, political*, trade union*, union "
        "member*, gender identity",
    ),
    (
        "salary",
        "salary, *salary, wage, wages, annual income, *income, compensation, gehalt, salaire, salario",
    ),
    (
        "gender",
        "gender, sex, geschlecht",
    ),
)

# What a column is that is about a value, not the value: when it changed, whether it is there, which row it points to.
_ABOUT = re.compile(
    r"(?:^| )(?:id|ids|fk|uuid|at|on|count|counter|type|kind|status|state|flag|enabled|verified|valid|format|length|len|"
    r"attempts?|expiry|expires|expired|policy|template|templates|sent|subject|body|opt in|optin|provider|domain|version|url)$|"
    r"^(?:is|has|had|can|should|num|number of|nr of|count|total|avg|min|max|last (?:sent|login|changed)|updated|created) "
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


_WHOLE = frozenset({"born on", "born at", "blood type"})


def words(name: str) -> str:
    """A column name as lower-case words without accents, joined by one blank: `firstName` is `first name`."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ø", "o").replace("ł", "l"))
    ascii_only = "".join(character for character in plain if character.isascii())
    return " ".join(_WORDS.findall(ascii_only)).lower()


def _compiled() -> tuple[tuple[str, re.Pattern[str]], ...]:
    rows: list[tuple[str, re.Pattern[str]]] = []
    for label, said in MEANINGS:
        forms = [
            ("(?:.* )?" if form.startswith("*") else "")
            + re.escape(form.strip("*+"))
            + {"*": "(?: .*)?", "+": ".*"}.get(form[-1], "")
            for form in said.split(", ")
        ]
        rows.append((label, re.compile("|".join(forms))))
    return tuple(rows)


_MEANINGS = _compiled()
LABELS = frozenset(label for label, _ in MEANINGS)
_WORDS_ONLY = frozenset({"address", "email", "iban", "name", "password", "secret", "health", "special_category"})
_KEPT = frozenset({"national_id", "device", "ssn"})  # labels whose own words end in `id`, `no` or a number


def suggest(name: str) -> str | None:
    """The label of what a column of this name holds, or None."""
    said = words(name)
    if not said or len(said) > 128:
        return None
    about = _ABOUT.search(said) is not None
    for label, form in _MEANINGS:
        if (not about or label in _KEPT or said in _WHOLE) and form.fullmatch(said):
            return label
    return None


def suggested(columns: Iterable[tuple[str, str, str, bool]], labels: Mapping[str, str]) -> dict[str, str]:
    """A label for every column whose name says what it holds and that has none in `labels`. A column is its schema, its
    relation, its name, and whether its type could hold words: a number called `address` is where one is kept."""
    found: dict[str, str] = {}
    for schema, relation, column, worded in columns:
        key = f"{schema}.{relation}.{column}"
        if key not in labels and (label := suggest(column)) is not None and (worded or label not in _WORDS_ONLY):
            found[key] = label
    return found


EXAMPLES: tuple[tuple[str, str], ...] = (
    ("first_name", "name"), ("LastName", "name"), ("SURNAME", "name"), ("customer_full_name", "name"),
    ("Vorname", "name"), ("prénom", "name"), ("street", "address"), ("billing_street", "address"),
    ("address_line_1", "address"), ("zipCode", "address"), ("plz", "address"), ("Straße", "address"),
    ("dob", "date_of_birth"), ("dateOfBirth", "date_of_birth"), ("birth_date", "date_of_birth"),
    ("geburtsdatum", "date_of_birth"), ("email", "email"), ("work_email", "email"), ("e-mail", "email"),
    ("email_address", "email"), ("phone", "phone"), ("mobile_number", "phone"), ("home_phone", "phone"),
    ("ssn", "ssn"), ("customer_ssn", "ssn"), ("pesel", "national_id"), ("tax_id", "national_id"),
    ("nationalId", "national_id"), ("passport_no", "passport"), ("iban", "iban"), ("card_number", "card"),
    ("cvv", "card"), ("password_hash", "password"), ("api_key", "secret"), ("client_secret", "secret"),
    ("salary", "salary"), ("base_salary", "salary"), ("diagnosis", "health"), ("ip_address", "ip"),
    ("latitude", "location"), ("fødselsnummer", "national_id"), ("account_number", "bank_account"),
)  # fmt: skip
COUNTEREXAMPLES: tuple[str, ...] = (
    "id", "name", "title", "created_at", "email_id", "email_verified", "email_sent_at", "is_email_valid",
    "phone_type", "address_id", "product_name", "file_name", "table_name", "host_name", "streetwise", "dobby",
    "password_changed_at", "passenger_count", "order_number", "sku", "status", "zipper", "company_name",
    "card_type", "last_login", "token_count", "c17", "", "capacity", "shipping_method", "gender_id",
    "number_of_phones", "spin", "description",
)  # fmt: skip
