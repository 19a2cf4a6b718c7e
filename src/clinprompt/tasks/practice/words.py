"""The vocabularies and sentence patterns of the synthetic practice notes. Knows no tasks.

A slot in braces is filled by a word of that kind and becomes a typed span; a digit at its end
(``{drug2}``) distinguishes several slots of a kind. Patterns are grouped by what they state.
"""

from collections.abc import Mapping


def _split(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(","))


_PROBLEMS = _split(
    "pneumonia, asthma, hypertension, atrial fibrillation, heart failure, gout, migraine,"
    "anemia, chest pain, back pain, knee pain, cough, fever, nausea, dizziness, headache, insomnia,"
    "anxiety, depression, acid reflux, constipation, diarrhea, cellulitis, sepsis,"
    "urinary tract infection, type 2 diabetes, hypothyroidism, osteoporosis, kidney stones,"
    "pancreatitis, hepatitis, bronchitis, sinusitis, eczema, psoriasis, epilepsy, stroke,"
    "sleep apnea, deep vein thrombosis, high cholesterol, peptic ulcer, shortness of breath,"
    "leg swelling, palpitations"
)
_DRUGS = _split(
    "aspirin, metformin, lisinopril, amlodipine, atorvastatin, metoprolol, furosemide, warfarin,"
    "apixaban, omeprazole, pantoprazole, sertraline, citalopram, gabapentin, tramadol, ibuprofen,"
    "naproxen, amoxicillin, azithromycin, cephalexin, doxycycline, prednisone, levothyroxine,"
    "allopurinol, albuterol, montelukast, insulin glargine, losartan, clopidogrel, simvastatin"
)
_NEW_DRUGS = _split(
    "carvedilol, diltiazem, rosuvastatin, escitalopram, bupropion, trazodone, duloxetine,"
    "famotidine, ondansetron, spironolactone, digoxin, rivaroxaban, empagliflozin, glipizide,"
    "levetiracetam, lamotrigine, colchicine, meloxicam, cetirizine, fluconazole, cefuroxime"
)
_FREQUENCIES = _split(
    "once daily, twice daily, three times daily, every 6 hours, every 8 hours, every 12 hours,"
    "every morning, at bedtime, as needed, weekly"
)
_NEW_FREQUENCIES = _split(
    "nightly, every other day, four times a day, every 4 hours, before meals, BID, TID,"
    "every evening"
)

SOURCE_WORDS: Mapping[str, tuple[str, ...]] = {
    "problem": _PROBLEMS,
    "drug": _DRUGS,
    "dose": _split(
        "2.5 mg, 5 mg, 10 mg, 20 mg, 25 mg, 40 mg, 50 mg, 75 mg, 81 mg, 100 mg, 150 mg, 200 mg,"
        "250 mg, 300 mg, 500 mg, 850 mg, 1 g, 2 g, 10 units, 18 units, 2 puffs, 50 mcg, 112 mcg"
    ),
    "route": _split("by mouth, orally, IV, under the skin, by injection, PO"),
    "frequency": _FREQUENCIES,
    "test": _split(
        "creatinine, potassium, sodium, hemoglobin, white count, glucose, troponin, INR, TSH, BNP,"
        "lactate, calcium, magnesium, albumin, bilirubin, platelets, ferritin, hemoglobin A1c,"
        "blood pressure, heart rate, oxygen saturation, chest X-ray, ECG, urinalysis"
    ),
    "value": _split(
        "0.9, 1.4, 2.1, 3.3, 4.0, 4.8, 6.2, 7.5, 8.1, 9.6, 11.2, 12.5, 14, 38, 77, 96, 110, 138,"
        "normal, low, high, elevated, stable, slightly raised"
    ),
    "plan": _split(
        "repeat labs in two weeks, repeat the chest X-ray, refer to cardiology, refer to surgery,"
        "start physical therapy, continue current medication, stop the antibiotic, order an MRI,"
        "schedule a colonoscopy, follow up in one month, admit for observation, discharge home,"
        "check cultures, consult nephrology, begin home oxygen, increase fluids,"
        "arrange a stress test, taper the steroid, monitor weight daily, call with any fever"
    ),
    "person": _split(
        "A 45-year-old man, A 71-year-old woman, A 29-year-old woman, An 83-year-old man, This man,"
        "This woman, The patient, An older man, A young woman, Pt, Mr. A, Mrs. B"
    ),
    "count": _split("2, 3, 5, 10, 12, 15, 20, 30, 40"),
    "job": _split(
        "nurse, teacher, welder, farmer, cook, driver, clerk, painter, plumber, librarian, cashier"
    ),
}
TARGET_WORDS: Mapping[str, tuple[str, ...]] = {
    **SOURCE_WORDS,
    "problem": (
        *_PROBLEMS[::2],
        *_split("plantar fasciitis, vertigo, shingles, tendinitis, glaucoma, lupus"),
    ),
    "drug": (*_DRUGS[::3], *_NEW_DRUGS),
    "frequency": (*_FREQUENCIES[::2], *_NEW_FREQUENCIES),
}

# The name of a group says what its patterns state.
SOURCE_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "present": (
        "{person} presents with {problem}.",
        "{person} is here for {problem}.",
        "{person} was admitted with {problem}.",
        "Found to have {problem}.",
        "Assessment: {problem}.",
        "Reports {problem} for {count} days.",
    ),
    "two present": (
        "{person} has {problem} and {problem2}.",
        "Active issues are {problem} and {problem2}.",
        "{problem} complicated by {problem2}.",
    ),
    "negated": (
        "Denies {problem}.",
        "No {problem} today.",
        "There is no sign of {problem}.",
        "Negative for {problem}.",
        "Without {problem}.",
    ),
    "past": (
        "History of {problem}.",
        "Past history includes {problem}.",
        "Had {problem} {count} years ago.",
        "Previously treated for {problem}.",
    ),
    "dosed": (
        "Takes {drug} {dose} {route} {frequency}.",
        "Started on {drug} {dose} {frequency}.",
        "{drug} {dose} {frequency}.",
        "Was given {dose} of {drug} {route}.",
        "Dose of {drug} was raised to {dose}.",
    ),
    "two dosed": (
        "Takes {drug} {dose} {frequency} and {drug2} {dose2} {frequency2}.",
        "Medications: {drug} {dose}, {drug2} {dose2}.",
        "Home drugs are {drug} {dose} {frequency}, {drug2} {dose2} {route}.",
    ),
    "treated": (
        "Takes {drug} {dose} for {problem}.",
        "On {drug} {dose} {frequency} for {problem}.",
        "{problem} is treated with {drug} {dose}.",
        "For {problem} we gave {drug} {dose} {route}.",
    ),
    "undosed": (
        "{drug} was stopped.",
        "Allergic to {drug}.",
        "Did not tolerate {drug}.",
        "{drug} will be restarted.",
    ),
    "timed": (
        "Takes {drug} {frequency}.",
        "{drug} {dose} {frequency}.",
        "Uses {drug} {dose} {route} {frequency}.",
        "Prescribed {drug} to take {frequency}.",
    ),
    "two timed": ("Takes {drug} {frequency} and {drug2} {frequency2}.",),
    "lab": (
        "{test} was {value}.",
        "{test} {value}.",
        "Latest {test}: {value}.",
        "{test} came back {value}.",
    ),
    "two labs": (
        "{test} {value}, {test2} {value2}.",
        "Labs show {test} {value} and {test2} {value2}.",
    ),
    "smokes": (
        "Smokes {count} cigarettes a day.",
        "Current smoker.",
        "Smokes daily.",
        "Still smoking.",
    ),
    "smokes not": (
        "Never smoked.",
        "Quit smoking {count} years ago.",
        "Nonsmoker.",
        "Does not smoke.",
    ),
    "drinks": ("Drinks {count} beers a week.", "Has wine with dinner.", "Drinks alcohol daily."),
    "drinks not": ("Does not drink.", "No alcohol use.", "Sober for {count} years."),
    "housed": ("Lives with family.", "Lives alone in an apartment.", "Owns a house."),
    "housed not": ("Homeless.", "Stays in a shelter.", "Has no stable housing."),
    "works": ("Works as a {job}.", "Employed as a {job}.", "Works full time."),
    "works not": ("Unemployed.", "Retired {job}.", "Lost a job as a {job}."),
    "plan": ("Plan: {plan}.", "We will {plan}.", "The plan is to {plan}.", "Will {plan}."),
}
TARGET_PATTERNS: Mapping[str, tuple[str, ...]] = {
    **SOURCE_PATTERNS,
    "dosed": (
        *SOURCE_PATTERNS["dosed"][::2],
        "Discharged on {drug} {dose} {route}.",
        "Refilled {drug} {dose} today.",
    ),
    "timed": (
        *SOURCE_PATTERNS["timed"][::2],
        "Continue {drug} {dose} {frequency}.",
        "{frequency}: {drug} {dose}.",
        "Changed {drug} to {frequency}.",
    ),
    "two timed": (
        *SOURCE_PATTERNS["two timed"],
        "Rx {drug} {dose} {frequency}; {drug2} {dose2} {frequency2}.",
    ),
    "drinks": (*SOURCE_PATTERNS["drinks"], "Reports {count} drinks on weekends."),
    "drinks not": (*SOURCE_PATTERNS["drinks not"], "Gave up alcohol {count} years ago."),
    "works": (*SOURCE_PATTERNS["works"], "Has a job as a {job}."),
    "works not": (*SOURCE_PATTERNS["works not"], "On disability, formerly a {job}."),
}
