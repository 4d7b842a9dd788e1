"""The words by which columns, folders and their values are recognised, in English, German, Spanish and French."""

from __future__ import annotations

import re
import unicodedata

SIGNS = {"+": "positive", "-": "negative", "−": "negative", "?": "unclear"}


def plain(text: str) -> str:
    """Return ``text`` as words are compared: small letters, digits and minus signs, without accents; 1.0 is 1."""
    text = re.sub(r"^\s*(-?[0-9]+)\.0+\s*$", r"\1", text)
    text = SIGNS.get(text.strip(), text)
    letters = unicodedata.normalize("NFKD", text.replace("ß", "ss")).casefold()
    return "".join(each for each in letters if each.isalnum() or each == "-")


def words_of(name: str) -> list[str]:
    """Return the words of a column's name: 'PatientID_nr' consists of patient, id and nr."""
    letters = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    letters = "".join(each for each in letters if not unicodedata.combining(each))
    return [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", letters)]


def among(text: str, known: frozenset[str]) -> bool:
    """Return whether a value, or a word in it, is one of the ``known``: 'study1_positive' is positive."""
    return plain(text) in known or not known.isdisjoint(set(words_of(text)) - {"0", "1"})


def has(name: str, *, words: str = "", stems: str = "") -> bool:
    """Return whether a column's ``name`` has one of the ``words``, or a word with one of the ``stems`` in it."""
    own = words_of(name)
    return any(word in words.split() for word in own) or any(
        part in word for word in own for part in stems.split()
    )


def is_metadata(name: str) -> bool:
    """Return whether a column describes the person or the recording, not a finding."""
    return has(
        name,
        words="age alter edad sex sexo sexe date time year jahr dob side seite lado cote site scanner model device bmi kv kvp "
        "mas dose race ethnicity male female operator physician doctor arzt ward station bits rows columns width height weight size pixel spacing reader rater comment comments note "
        "notes text report name url license licence hash nr number index count follow up fold type manufacturer modality "
        "modalitat quality body part region",
        stems="geschlecht gender genero datum fecha birth geburt lateral hospital institut hersteller ethnic radiolog annotat "
        "comentari observacion bemerkung kommentar vorname nachname localization localisation lokalis",
    )


def is_sex(name: str) -> bool:
    return has(name, words="sex sexo sexe male female", stems="geschlecht gender genero")


def is_patient(name: str) -> bool:
    """Return whether a column names the patient."""
    if has(name, words="age alter edad sex name weight size race count") or is_sex(name):
        return False
    return (
        has(name, stems="patient pacient pazient subject sujet proband participant person")
        or plain(name).replace("-", "")
        in ("pid", "mrn", "nhc", "case", "caseid", "fall", "fallnr", "fallnummer", "pat", "patid")
        or has(name, words="pid mrn nhc pat patid patnr ptid")
    )


def is_study(name: str) -> bool:
    if has(name, words="date time description type", stems="datum fecha"):
        return False
    return has(
        name,
        words="study exam encounter",
        stems="studyid studyinstance accession untersuchung estudio akzession examen",
    )


def is_view(name: str) -> bool:
    return has(
        name, words="view incidence", stems="projection projektion proyeccion ansicht viewposition"
    ) or plain(name) in (
        "appa",
        "frontallateral",
    )


def is_split(name: str) -> bool:
    return has(
        name, words="split set partition subset fold usage", stems="aufteilung dataset datensatz particion"
    )


def is_class(name: str) -> bool:
    """Return whether a column names a diagnosis or a class."""
    return has(
        name,
        words="dx label labels class target category finding findings klasse clase classe outcome ziel befund befunde disease",
        stems="diagnos etiqueta categoria kategorie hallazgo pathology patholog",
    )


def is_grade(name: str) -> bool:
    return has(
        name,
        words="kl kellgren level birads rads severity score stadium stufe",
        stems="grad stage estadio schwere gravedad",
    )


def _all(text: str) -> frozenset[str]:
    return frozenset(text.split())


ANSWERS = _all(
    "1 true yes y ja j si oui sim x positive pos positiv positivo positif present vorhanden presente"
)
POSITIVE = ANSWERS | _all(
    "abnormal pathological pathologisch "
    "malignant maligne maligno bosartig disease diseased krank sick tumor tumour cancer pneumonia affected"
)
NO_ANSWERS = _all(
    "0 false no n nein non nao none negative neg negativ negativo negatif absent ausente nichtvorhanden"
)
NEGATIVE = NO_ANSWERS | _all(
    "normal healthy gesund benign benigne benigno gutartig control kontrolle sano sain nofinding nofindings unremarkable "
    "ohnebefund ob unauffallig"
)
UNCERTAIN = _all(
    "-1 uncertain unclear unknown unk indeterminate unbekannt desconocido inconnu maybe equivocal fraglich unsicher unklar dudoso incierto"
)
# What the table adapter reads as 1, 0 and -1 without a rule.
READ_AS_THEY_ARE = _all("1 0 -1 true false yes no")
# What the parts of a file's name say of the view or the side.
VIEWS = _all("ap pa lat lateral frontal ll l r left right links rechts")
# From the healthy to the ill.
SEVERITIES = (
    _all("none no normal healthy absent keine normal ninguno"), _all("minimal trace questionable doubtful"),
    _all("mild slight leicht leve"), _all("moderate mittel mittelgradig moderado"), _all("severe marked schwer hochgradig grave severo"),
)  # fmt: skip
ROMAN = ("0", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
# Folders of copies of the images, or of what was drawn on them.
COPIES = _all("images image img imgs jpg jpeg jpegs png pngs dicom dicoms dcm raw original originals bilder")
UNLABELLED = _all("unknown unlabeled unlabelled nolabel unsorted unbekannt")


def ranks(values: list[str]) -> list[int] | None:
    """Return the grade of each value ('KL2', 'Grade III', 'mild'), or None if they are no grades of one scale."""
    texts = [plain(value) for value in values]
    words = [next((rank for rank, known in enumerate(SEVERITIES) if text in known), None) for text in texts]
    if None not in words and len(set(words)) == len(values) > 2:
        return [sorted(words).index(rank) for rank in words]
    split = [re.fullmatch(r"(.*?)[\s:_-]*([0-9]{1,2}|[IVX]{1,4})", value.strip()) for value in values]
    if not all(split) or len({plain(match[1]) for match in split}) > 1:
        return None
    if any(match[2].isdigit() for match in split):
        numbers = [int(match[2]) if match[2].isdigit() else -1 for match in split]
    else:
        numbers = [
            ROMAN.index(match[2].casefold()) if match[2].casefold() in ROMAN else -1 for match in split
        ]
    if len(set(numbers)) != len(values) or not 0 <= min(numbers) <= max(numbers) <= 10:
        return None
    return numbers if plain(split[0][1]) == "" or is_grade(split[0][1]) else None
