"""Count the tokens that instruction and chat template add to an input, over the catalog."""

import json
from statistics import fmean

from clinprompt.backbone.load import load_tokenizer
from clinprompt.batches.encode import make_encoder
from clinprompt.settings.defaults import DEFAULT_BACKBONE
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import catalog, find_card
from clinprompt.tasks.kinds import instruction_of
from clinprompt.tasks.records import one_line

if __name__ == "__main__":
    encoder = make_encoder(load_tokenizer(DEFAULT_BACKBONE), DataSettings())
    chat = encoder.form.chat
    shell = encoder.length_of(chat.opening + chat.reply) if chat else 0
    cards = [find_card(name) for name in catalog()]
    counts = [
        [encoder.length_of(one_line(instruction_of(card, n))) for n in range(3)] for card in cards
    ]
    first = [own[0] for own in counts]
    found = {
        "cards": len(cards),
        "chat_template": shell,
        "instruction_mean": round(fmean(first), 1),
        "instruction_max": max(first),
        "of_all_paraphrases_mean": round(fmean(n for own in counts for n in own), 1),
    }
    print(json.dumps(found, indent=2))
