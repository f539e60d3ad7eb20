"""Write the sample data set: reading comprehension about an invented world, in the format of SQuAD 2.0.

    python data/sample/generate.py OUT_DIR

writes OUT_DIR/train.json and OUT_DIR/dev.json. The standard library is all it needs, the seed is a constant, and the
bytes are the same everywhere. README.md in this folder says what is in the data and what was measured on it.

How it works. A paragraph describes two or three subjects of one class (two bridges and a mill, three rulers, ...). Each
class has relations (`designer`, `opened`, ...), and a paragraph states some of the (subject, relation) pairs and leaves
the others out. A stated pair gives an answerable question. A pair that was left out gives a question without an answer
if the paragraph holds a candidate of the right type: the same relation of another subject, or another relation of the
same type. Within every relation the two kinds of question are then thinned to one fixed ratio, so that the words of a
question say nothing about whether it can be answered.

Sentences and questions come from the frames in FRAMES. A frame marked with an asterisk is held out: only dev uses it.
"""

import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = 20240229
UNANSWERABLE_SHARE = 0.375
HELD_OUT_RATE = 0.42  # how often dev prefers a held-out frame where the relation has one
WORDS = (50, 95)  # of a paragraph
TRAIN_SIZE = {"articles": 50, "questions": 1640}
DEV_SIZE = {"articles": 15, "questions": 700}

# Relations by class. "= class" opens a class; "- name TYPE" opens a relation; then v: predicate that follows the
# subject, f: whole sentence, q: question; an asterisk marks a held-out frame. {s} is the subject, {p} its possessive,
# {a} the answer.
FRAMES = """
= building
- designer PERSON
v was designed by {a}
v is the work of the architect {a}
v* was planned by the architect {a}
f {a} drew up the plans for {s}
f The design of {s} came from {a}
f* It was {a} who designed {s}
q Who designed {s}?
q Who was the architect of {s}?
q Who drew up the plans for {s}?
q* Which architect designed {s}?
q* From whom did the plans of {s} come?
- patron PERSON
v was paid for by {a}
v was built with money given by {a}
v* was funded by {a}
f {a} paid for the construction of {s}
f {a} met the whole cost of {s}
f* The money for {s} came from {a}
q Who paid for {s}?
q Who gave the money for {s}?
q Whose money paid for the construction of {s}?
q* Who funded {s}?
q* Who met the cost of building {s}?
- begun YEAR
v was begun in {a}
v had its first stone laid in {a}
v* was started in {a}
f Work on {s} began in {a}
f The first stone of {s} was laid in {a}
f* Builders started work on {s} in {a}
q When did work on {s} begin?
q In what year was the first stone of {s} laid?
q When was {s} begun?
q* When did builders start work on {s}?
q* In which year did the construction of {s} start?
- opened YEAR
v opened in {a}
v was opened to the public in {a}
v* first opened its doors in {a}
f The public was first admitted to {s} in {a}
f In {a} {s} opened
f* The formal opening of {s} took place in {a}
q When did {s} open?
q In what year was {s} opened to the public?
q When was the public first admitted to {s}?
q* In which year did the opening of {s} take place?
q* What year saw {s} open?
- material STONE
v was built of {a}
v is made of {a}
v* was constructed from {a}
f The walls of {s} are of {a}
f Its builders used {a} for {s}
f* The masons of {s} worked in {a}
q What was {s} built of?
q What are the walls of {s} made of?
q Which material was used for {s}?
q* From what was {s} constructed?
q* What did the builders of {s} use?
- height LENGTH
v is {a} high
v rises to a height of {a}
v* stands {a} tall
f The height of {s} is {a}
f* From foot to roof {s} measures {a}
q How high is {s}?
q What is the height of {s}?
q To what height does {s} rise?
q* How tall is {s}?
q* What height does {s} reach?

= river
- source UPLAND
v rises in {a}
v has its source in {a}
v* springs from {a}
f The source of {s} lies in {a}
f* It is in {a} that {s} begins
q Where does {s} rise?
q Where is the source of {s}?
q In what place does {s} begin?
q* From where does {s} spring?
q* Which hills hold the source of {s}?
- surveyor PERSON
v was first mapped by {a}
v was surveyed by {a}
v* was charted by {a}
f {a} made the first map of {s}
f* The earliest chart of {s} is by {a}
q Who first mapped {s}?
q Who surveyed {s}?
q Who made the first map of {s}?
q* Who charted {s}?
q* By whom was {s} surveyed?
- namesake PERSON
v is named after {a}
v bears the name of {a}
v* was named in honour of {a}
f The name of {s} honours {a}
f* Settlers named {s} for {a}
q After whom is {s} named?
q Whose name does {s} bear?
q Whom does the name of {s} honour?
q* For whom was {s} named?
q* In whose honour was {s} named?
- flooded YEAR
v burst its banks in {a}
v flooded the valley in {a}
v* overflowed in {a}
f A great flood came down {s} in {a}
f* The worst flood of {s} came in {a}
q When did {s} burst its banks?
q In what year did {s} flood the valley?
q When was the great flood of {s}?
q* In which year did {s} overflow?
q* What was the year of the flood on {s}?
- dammed YEAR
v was dammed in {a}
v has been held by a dam since {a}
v* was closed off by a dam in {a}
f A dam was built across {s} in {a}
f* Engineers dammed {s} in {a}
q When was {s} dammed?
q In what year was a dam built across {s}?
q Since when has a dam held {s}?
q* When did engineers build a dam on {s}?
q* In which year was the dam on {s} built?
- length DISTANCE
v is {a} long
v flows for {a}
v* runs for {a}
f The length of {s} is {a}
f* From end to end {s} measures {a}
q How long is {s}?
q What is the length of {s}?
q For what distance does {s} flow?
q* How far does {s} run?
q* What length does {s} have?

= guild
- founder PERSON
v was founded by {a}
v was set up by {a}
v* was established by {a}
f {a} founded {s}
f The founder of {s} was {a}
f* It was {a} who established {s}
q Who founded {s}?
q Who was the founder of {s}?
q Who set up {s}?
q* Who established {s}?
q* By whom was {s} founded?
- master PERSON
v is led by {a}
v chose {a} as its master
v* is headed by {a}
f The master of {s} is {a}
f {a} leads {s}
f* At the head of {s} stands {a}
q Who is the master of {s}?
q Who leads {s}?
q Whom did {s} choose as its master?
q* Who heads {s}?
q* Who is at the head of {s}?
- founded YEAR
v was founded in {a}
v dates from {a}
v* came into being in {a}
f The founding of {s} took place in {a}
f* In {a} {s} was established
q When was {s} founded?
q In what year was {s} set up?
q From which year does {s} date?
q* When did {s} come into being?
q* In which year was {s} established?
- charter YEAR
v received its charter in {a}
v was granted a charter in {a}
v* obtained a royal charter in {a}
f The crown gave {s} a charter in {a}
f The charter of {s} is dated {a}
f* A charter was issued to {s} in {a}
q When did {s} receive its charter?
q In what year was {s} granted a charter?
q What is the date of the charter of {s}?
q* When did {s} obtain a royal charter?
q* In which year was a charter issued to {s}?
- members COUNT
v has {a} members
v counts {a} members
v* is made up of {a} members
f The members of {s} number {a}
f* There are {a} members in {s}
q How many members does {s} have?
q What is the number of members of {s}?
q* How many people belong to {s}?
q* How large is the membership of {s}?
- emblem EMBLEM
v uses {a} as its emblem
v carries {a} on its banner
v* took {a} as its badge
f The emblem of {s} is {a}
f* On the seal of {s} stands {a}
q What is the emblem of {s}?
q What does {s} carry on its banner?
q What does {s} use as its emblem?
q* Which badge did {s} take?
q* What can be seen on the seal of {s}?

= ruler
- tutor PERSON
v was taught by {a}
v was a pupil of {a}
v* was educated by {a}
f {a} was the tutor of {s}
f* The schooling of {s} was left to {a}
q Who taught {s}?
q Who was the tutor of {s}?
q Whose pupil was {s}?
q* Who educated {s}?
q* To whom was the schooling of {s} left?
- spouse PERSON
v married {a}
v was married to {a}
v* took {a} in marriage
f {a} was married to {s}
f* {p} marriage to {a} was a happy one
q Whom did {s} marry?
q To whom was {s} married?
q Who was married to {s}?
q* Who was the spouse of {s}?
q* Whom did {s} take in marriage?
- heir PERSON
v was succeeded by {a}
v left the throne to {a}
v* was followed on the throne by {a}
f {a} succeeded {s}
f* The crown passed from {s} to {a}
q Who succeeded {s}?
q To whom did {s} leave the throne?
q By whom was {s} succeeded?
q* Who followed {s} on the throne?
q* To whom did the crown of {s} pass?
- born YEAR
v was born in {a}
v came into the world in {a}
f The birth of {s} was recorded in {a}
f* {p} year of birth is given as {a}
q When was {s} born?
q In what year was {s} born?
q* What is the year of birth of {s}?
q* In which year did the birth of {s} take place?
- crowned YEAR
v was crowned in {a}
v came to the throne in {a}
v* took the crown in {a}
f The coronation of {s} took place in {a}
f* {p} reign began in {a}
q When was {s} crowned?
q In what year did {s} come to the throne?
q When was the coronation of {s}?
q* In which year did {s} take the crown?
q* When did the reign of {s} begin?
- died YEAR
v died in {a}
v died of a fever in {a}
v* passed away in {a}
f The death of {s} came in {a}
f* {p} life ended in {a}
q When did {s} die?
q In what year did {s} die?
q When did the death of {s} come?
q* In which year did {s} pass away?
q* When did the life of {s} end?

= instrument
- inventor PERSON
v was invented by {a}
v is an invention of {a}
v* was devised by {a}
f {a} invented {s}
f* It was {a} who devised {s}
q Who invented {s}?
q Who was the inventor of {s}?
q* Who devised {s}?
q* By whom was {s} invented?
- performer PERSON
v was first played in public by {a}
v had its first great player in {a}
v* was first performed on by {a}
f {a} was the first to play {s} in public
f* The first concert on {s} was given by {a}
q Who first played {s} in public?
q Who was the first great player of {s}?
q Who was the first to play {s} in public?
q* Who gave the first concert on {s}?
q* By whom was {s} first performed on?
- invented YEAR
v was invented in {a}
v was first built in {a}
v* was devised in {a}
f The invention of {s} dates from {a}
f* In {a} {s} was created
q When was {s} invented?
q In what year was {s} first built?
q From what year does the invention of {s} date?
q* When was {s} devised?
q* In which year was {s} created?
- banned YEAR
v was banned from churches in {a}
v was forbidden in churches in {a}
v* was driven from the churches in {a}
f The bishops banned {s} in {a}
f* A ban on {s} was declared in {a}
q When was {s} banned from churches?
q In what year did the bishops ban {s}?
q When was {s} forbidden in churches?
q* In which year was a ban on {s} declared?
q* When was {s} driven from the churches?
- body WOOD
v has a body of {a}
v is carved from {a}
v* has a frame of {a}
f The body of {s} is made of {a}
f* Makers cut the body of {s} from {a}
q What is the body of {s} made of?
q From what is {s} carved?
q Of what wood is the body of {s}?
q* What wood do makers use for the body of {s}?
q* What is the frame of {s} made of?
- strings SMALL
v has {a} strings
v is fitted with {a} strings
v* carries {a} strings
f There are {a} strings on {s}
f* The strings of {s} number {a}
q How many strings does {s} have?
q How many strings are there on {s}?
q* What is the number of strings on {s}?
q* How many strings does {s} carry?

= mineral
- discoverer PERSON
v was discovered by {a}
v was first found by {a}
v* was come upon by {a}
f {a} discovered {s}
f* The discovery of {s} is owed to {a}
q Who discovered {s}?
q Who was the first to find {s}?
q Who was the discoverer of {s}?
q* To whom is the discovery of {s} owed?
q* By whom was {s} discovered?
- analyst PERSON
v was first analysed by {a}
v was studied in the laboratory by {a}
v* had its formula worked out by {a}
f {a} made the first analysis of {s}
f* The chemistry of {s} was explained by {a}
q Who first analysed {s}?
q Who studied {s} in the laboratory?
q Who made the first analysis of {s}?
q* Who worked out the formula of {s}?
q* Who explained the chemistry of {s}?
- discovered YEAR
v was discovered in {a}
v was first found in {a}
v* came to light in {a}
f The discovery of {s} dates from {a}
f* In {a} {s} was noticed for the first time
q When was {s} discovered?
q In what year was {s} first found?
q From what year does the discovery of {s} date?
q* When did {s} come to light?
q* In which year was {s} noticed for the first time?
- mined YEAR
v has been mined since {a}
v was first mined in {a}
v* was first dug for sale in {a}
f Mining of {s} began in {a}
f* The first mine for {s} was sunk in {a}
q When was {s} first mined?
q Since what year has {s} been mined?
q When did mining of {s} begin?
q* In which year was the first mine for {s} sunk?
q* When was {s} first dug for sale?
- colour COLOUR
v is {a} in colour
v has a {a} colour
v* is of a {a} hue
f The colour of {s} is {a}
f* In daylight {s} looks {a}
q What colour is {s}?
q What is the colour of {s}?
q* What hue does {s} have?
q* How does {s} look in daylight?
- place UPLAND
v occurs in {a}
v is found in {a}
v* comes from {a}
f Deposits of {s} lie in {a}
f* Veins of {s} run through {a}
q Where is {s} found?
q Where does {s} occur?
q Where do deposits of {s} lie?
q* Where does {s} come from?
q* Where do veins of {s} run?

= festival
- founder PERSON
v was started by {a}
v was founded by {a}
v* was established by {a}
f {a} founded {s}
f* It was {a} who began {s}
q Who founded {s}?
q Who started {s}?
q Who was the founder of {s}?
q* Who began {s}?
q* By whom was {s} established?
- honours PERSON
v honours {a}
v is held in memory of {a}
v* celebrates the life of {a}
f The people of the town remember {a} at {s}
f* Songs in praise of {a} are sung at {s}
q Whom does {s} honour?
q In whose memory is {s} held?
q Whom do people remember at {s}?
q* Whose life does {s} celebrate?
q* In praise of whom are songs sung at {s}?
- month MONTH
v takes place in {a}
v is held every {a}
v* falls in {a}
f Each {a} the streets fill for {s}
f* The month of {s} is {a}
q In what month is {s} held?
q When in the year does {s} take place?
q In which month do the streets fill for {s}?
q* When does {s} fall?
q* What is the month of {s}?
- first YEAR
v was first held in {a}
v began in {a}
v* took place for the first time in {a}
f The first year of {s} was {a}
f* In {a} {s} was celebrated for the first time
q When was {s} first held?
q In what year did {s} begin?
q What was the first year of {s}?
q* In which year was {s} celebrated for the first time?
q* When did {s} take place for the first time?
- cancelled YEAR
v was cancelled in {a}
v was not held in {a}
v* had to be called off in {a}
f Bad weather stopped {s} in {a}
f* In {a} {s} was called off
q When was {s} cancelled?
q In what year was {s} not held?
q When did bad weather stop {s}?
q* In which year was {s} called off?
q* In what year did {s} not take place?
- dish FOOD
v is known for its {a}
v ends with a meal of {a}
v* offers its guests {a}
f The usual dish at {s} is {a}
f* Every guest at {s} is served {a}
q What is eaten at {s}?
q What is the usual dish at {s}?
q With a meal of what does {s} end?
q* What does {s} offer its guests?
q* What are guests served at {s}?

= expedition
- leader PERSON
v was led by {a}
v was under the command of {a}
v* had {a} as its commander
f {a} led {s}
f* In command of {s} was {a}
q Who led {s}?
q Who was in command of {s}?
q Under whose command was {s}?
q* Who was the commander of {s}?
q* Whom did {s} have as its commander?
- sponsor PERSON
v was paid for by {a}
v was sent out at the expense of {a}
v* was financed by {a}
f {a} paid for {s}
f* The funds for {s} came from {a}
q Who paid for {s}?
q At whose expense was {s} sent out?
q* Who financed {s}?
q* From whom did the funds for {s} come?
- navigator PERSON
v was guided by {a}
v relied on {a} as its navigator
v* was steered by {a}
f {a} was the navigator of {s}
f* The route of {s} was plotted by {a}
q Who guided {s}?
q Who was the navigator of {s}?
q On whom did {s} rely as its navigator?
q* Who steered {s}?
q* Who plotted the route of {s}?
- departed YEAR
v set out in {a}
v left port in {a}
v* departed in {a}
f The departure of {s} was in {a}
f* In {a} {s} got under way
q When did {s} set out?
q In what year did {s} leave port?
q When was the departure of {s}?
q* When did {s} depart?
q* In which year did {s} get under way?
- returned YEAR
v returned in {a}
v came home in {a}
v* arrived back in {a}
f The return of {s} was in {a}
f* In {a} {s} was welcomed home
q When did {s} return?
q In what year did {s} come home?
q When was the return of {s}?
q* When did {s} arrive back?
q* In which year was {s} welcomed home?
- crew COUNT
v had a crew of {a}
v took along {a} people
v* was made up of {a} people
f A total of {a} people sailed with {s}
f* The crew of {s} numbered {a}
q How many people took part in {s}?
q How large was the crew of {s}?
q How many people sailed with {s}?
q* How many people made up {s}?
q* What was the number of the crew of {s}?

= book
- author PERSON
v was written by {a}
v is the work of {a}
v* was composed by {a}
f {a} wrote {s}
f* The author of {s} is {a}
q Who wrote {s}?
q Whose work is {s}?
q By whom was {s} written?
q* Who is the author of {s}?
q* Who composed {s}?
- illustrator PERSON
v was illustrated by {a}
v has pictures by {a}
v* was decorated by {a}
f {a} painted the pictures in {s}
f* The drawings in {s} are by {a}
q Who illustrated {s}?
q Who painted the pictures in {s}?
q Whose pictures does {s} have?
q* Who decorated {s}?
q* By whom are the drawings in {s}?
- translator PERSON
v was translated by {a}
v is known in a translation by {a}
v* was put into modern speech by {a}
f {a} translated {s}
f* The modern version of {s} is by {a}
q Who translated {s}?
q By whom was {s} translated?
q* Who put {s} into modern speech?
q* Who made the modern version of {s}?
- finished YEAR
v was finished in {a}
v was completed in {a}
v* reached its final form in {a}
f Work on {s} ended in {a}
f* The last page of {s} was written in {a}
q When was {s} finished?
q In what year was {s} completed?
q When did work on {s} end?
q* When was the last page of {s} written?
q* In which year did {s} reach its final form?
- printed YEAR
v was printed in {a}
v was first printed in {a}
v* came off the press in {a}
f The first printing of {s} was in {a}
f* In {a} {s} was put into print
q When was {s} printed?
q In what year was {s} first printed?
q When was the first printing of {s}?
q* When did {s} come off the press?
q* In which year was {s} put into print?
- pages COUNT
v has {a} pages
v runs to {a} pages
v* fills {a} pages
f There are {a} pages in {s}
f* The pages of {s} number {a}
q How many pages does {s} have?
q How many pages are there in {s}?
q To how many pages does {s} run?
q* How many pages does {s} fill?
q* What is the number of pages in {s}?

= bird
- describer PERSON
v was first described by {a}
v was described by {a}
v* was made known to science by {a}
f {a} first described {s}
f* The earliest account of {s} is by {a}
q Who first described {s}?
q By whom was {s} first described?
q* Who made {s} known to science?
q* Who gave the earliest account of {s}?
- keeper PERSON
v was first kept in a cage by {a}
v was first tamed by {a}
v* was first bred by {a}
f {a} was the first to tame {s}
f* The first to breed {s} was {a}
q Who first tamed {s}?
q Who first kept {s} in a cage?
q Who was the first to tame {s}?
q* Who first bred {s}?
q* By whom was {s} first bred?
- food PREY
v feeds on {a}
v lives on {a}
v* eats {a}
f The diet of {s} is {a}
f* The favourite food of {s} is {a}
q What does {s} feed on?
q On what does {s} live?
q What is the diet of {s}?
q* What does {s} eat?
q* What is the favourite food of {s}?
- habitat UPLAND
v lives in {a}
v is found in {a}
v* has its home in {a}
f The home of {s} is {a}
f* Flocks of {s} can be seen in {a}
q Where does {s} live?
q Where is {s} found?
q Where is the home of {s}?
q* Where does {s} have its home?
q* Where can flocks of {s} be seen?
- winter UPLAND
v spends the winter in {a}
v flies in autumn to {a}
v* winters in {a}
f The winter quarters of {s} are in {a}
f* When the snow comes, {s} moves to {a}
q Where does {s} spend the winter?
q Where does {s} fly in autumn?
q Where are the winter quarters of {s}?
q* Where does {s} winter?
q* Where does {s} move when the snow comes?
- eggs SMALL
v lays {a} eggs
v lays a clutch of {a} eggs
v* hatches {a} eggs
f There are {a} eggs in the nest of {s}
f* The eggs of {s} number {a}
q How many eggs does {s} lay?
q How many eggs are there in the nest of {s}?
q* How many eggs does {s} hatch?
q* What is the number of eggs of {s}?
"""

OPENERS = {
    "building": ["Several old buildings survive in {t}.", "{t} is proud of its old buildings."],
    "river": ["The country around {t} is rich in water.", "Rivers shape the land near {t}."],
    "guild": ["Trade in {t} is in the hands of guilds.", "The guilds of {t} guard their rights."],
    "ruler": ["The early rulers of {t} are well recorded.", "Several rulers held court in {t}."],
    "instrument": ["Music has long been prized in {t}.", "The workshops of {t} supply musicians."],
    "mineral": ["The mines of {t} yield rare minerals.", "Collectors come to {t} for its minerals."],
    "festival": ["The calendar of {t} is full of feasts.", "Visitors know {t} for its feasts."],
    "expedition": ["Many voyages started from {t}.", "The harbour of {t} sent out explorers."],
    "book": ["The library of {t} holds rare books.", "Scholars in {t} collected old books."],
    "bird": ["The marshes of {t} are full of birds.", "Many birds live around {t}."],
}
DISTRACTORS = [
    "The clerk {person} kept the records of the district.",
    "Few papers survive from before {year}.",
    "A hard winter in {year} emptied many houses nearby.",
    "The painter {person} spent a summer there.",
    "Most travellers arrive by way of {upland}.",
    "A new road was laid in {year}.",
    "The teacher {person} gave talks on the subject.",
    "Older accounts also mention {upland}.",
]


def words(text: str) -> list[str]:
    return text.split("|")


STONES = words("granite|brick|limestone|sandstone|slate|marble|oak|basalt|flint|timber")
STONE_WORDS = words("red|grey|white|dark|pale|local|yellow|black")
WOODS = words("cherry|maple|walnut|pear|cedar|ash|pine|oak|elm|willow|beech|olive")
COLOURS = words("red|green|violet|blue|yellow|orange|white|pink|brown|grey")
COLOUR_WORDS = words("pale|deep|dull|bright|dark")
MONTHS = words("January|February|March|April|May|June|July|August|September|October|November|December")
FOODS = words(
    "roast chestnuts|honey cakes|smoked eel|pea soup|barley bread|baked apples|salted fish|goat cheese|apple pie|"
    "onion soup|dried plums|boiled crab|mushroom stew|cherry tart|rye pancakes"
)
PREY = words(
    "wild berries|pine nuts|small crabs|beetles|water snails|grass seeds|worms|river shrimp|moths|tadpoles|ants"
)
EMBLEM_WORDS = words("silver|golden|black|white|red|green|blue|crowned")
EMBLEMS = words("heron|key|wheel|lion|ship|hammer|bell|fox|rose|anchor|bee|tower|salmon|star")
SMALL = words("three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen")
BUILDINGS = words("Mill|Bridge|Tower|Library|Lighthouse|Theatre|Chapel|Granary|Hall|Gate|Hospital|School")
BIRDS = words("finch|heron|owl|thrush|duck|gull|crane|swift|wren|warbler")
FESTIVALS = words("Fair|Feast|Festival|Carnival|Pageant")
BOOKS = words("Chronicle|Codex|Almanac|Atlas|Psalter|Herbal")
UPLANDS = words("the {} Hills|the {} Forest|the {} Marshes|the {} Woods|{} Valley|the {} Mountains")

# Names are a stem and an ending; train and dev share neither first names nor whole names.
STEMS = words(
    "Mar|Tor|Val|Bren|Hal|Kel|Dor|Fen|Gar|Lin|Mor|Nor|Per|Ral|Sel|Tam|Ver|Wil|Bal|Cor|Dal|El|Far|Gil|Har|Kir|Lan|Mel|"
    "Or|Pel|Ros|Sal|Tan|Ul|Var|Wes|Ash|Ben|Cal|Den|Hol|Jar|Ken|Lor|Mal|Nav|Ol|Pol|Quin|Ren|San|Tel|Vin|Yar|Zan"
)
ENDINGS = words(
    "wick|den|mere|dale|holm|by|mont|ver|stein|gard|vik|beck|combe|well|rick|more|wood|land|vale|brook|"
    "stead|worth|ridge|burn|hurst|lund|berg|haven|field|stone|hart|bach"
)
# Women's and men's first names.
FIRST_NAMES = {
    "train": (
        words("Ada|Clara|Elsa|Mira|Rosa|Greta|Ida|Karin|Nina|Olga|Ruth|Vera|Anna|Dora|Fiona"),
        words("Bruno|Otto|Hugo|Ivan|Oscar|Felix|Jonas|Lars|Peter|Simon|Walter|Boris|Cecil|Emil|Gustav"),
    ),
    "dev": (
        words("Agnes|Celia|Diana|Flora|Helen|Julia|Martha|Nora|Paula"),
        words("Basil|Erik|George|Igor|Leo|Oliver|Victor|Anton"),
    ),
}
# Years between one relation of type YEAR and the next, in the order of FRAMES, so that no end precedes its start.
GAPS = {
    "building": [(2, 14)],
    "river": [(4, 50)],
    "guild": [(5, 80)],
    "ruler": [(16, 40), (5, 40)],
    "instrument": [(5, 60)],
    "mineral": [(3, 60)],
    "festival": [(5, 90)],
    "expedition": [(1, 5)],
    "book": [(3, 60)],
    "bird": [],
}
NOT_INVENTED = {
    "Ashburn", "Ashby", "Ashcombe", "Ashdale", "Ashfield", "Ashland", "Ashridge", "Ashstead", "Ashwell", "Ashworth",
    "Balmont", "Belmont", "Benwell", "Calder", "Calhurst", "Calwell", "Cornwell", "Dalby", "Denby", "Denfield",
    "Elberg", "Elridge", "Elstead", "Elwood", "Elworth", "Farworth", "Fenwick", "Finland", "Garfield", "Garland",
    "Garwood", "Halland", "Halstead", "Halwell", "Harwell", "Harwood", "Harworth", "Holbeck", "Holbrook", "Holby",
    "Holland", "Holmby", "Holstein", "Kelburn", "Kelstone", "Kenworth", "Kirby", "Kirkby", "Lanhurst", "Lindale",
    "Linwood", "Maldon", "Marden", "Marland", "Marwood", "Melbeck", "Melburn", "Morden", "Morland", "Norberg",
    "Norfield", "Norland", "Norlund", "Norridge", "Norwell", "Norwood", "Oland", "Oldenberg", "Orrick", "Orwell",
    "Perrick", "Poland", "Roland", "Rosberg", "Rosenberg", "Rosewood", "Rosland", "Rosmont", "Roswell", "Salwick",
    "Selby", "Selden", "Selwood", "Tanby", "Torrick", "Verwood", "Warwick", "Wesfield", "Westland", "Wilberg",
    "Wilburn", "Wilby", "Wilden", "Wilhart", "Wilmont",
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """One way to state or to ask a relation. `kind` is v (predicate), f (sentence) or q (question)."""

    kind: str
    text: str
    held_out: bool


@dataclass(frozen=True)
class Relation:
    """A property that subjects of one class can have, with the type of its value and the ways to put it in words."""

    name: str
    value_type: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Subject:
    """What a paragraph is about. `name` is used in questions, `short` and `pronoun` where the subject is clear."""

    name: str
    short: str
    pronoun: str
    possessive: str


# Class, relation, kind and text of a frame in use.
FrameUse = tuple[str, str, str, str]


@dataclass
class Split:
    """A finished split in SQuAD's form, with what the tests check: its names, and how often it uses each frame."""

    squad: dict[str, Any]
    names: set[str] = field(default_factory=set)
    frames: Counter[FrameUse] = field(default_factory=Counter)


def parse_frames(text: str) -> dict[str, list[Relation]]:
    """Relations of every class, from the notation of FRAMES."""
    classes: dict[str, list[Relation]] = {}
    for block in text.strip().split("\n= "):
        header, *entries = block.removeprefix("= ").split("\n- ")
        relations = []
        for entry in entries:
            first, *lines = entry.strip().splitlines()
            name, value_type = first.split()
            frames = tuple(Frame(line[0], line.split(" ", 1)[1], line[1] == "*") for line in lines)
            relations.append(Relation(name, value_type, frames))
        classes[header.strip()] = relations
    return classes


CLASSES = parse_frames(FRAMES)


def all_names() -> list[str]:
    """Every invented name, in a fixed order."""
    names = (stem + ending for stem in STEMS for ending in ENDINGS if stem[-1] != ending[0])
    return [name for name in names if name not in NOT_INVENTED]


class Names:
    """Hands out invented names of one split, each once while the stock lasts and never one of the other split."""

    def __init__(self, rng: random.Random, stock: list[str], first_names: tuple[list[str], list[str]]) -> None:
        self.rng, self.first_names = rng, first_names
        self.stock, self.queue = stock, list[str]()
        self.used: set[str] = set()

    def take(self) -> str:
        if not self.queue:
            self.queue = self.rng.sample(self.stock, len(self.stock))
        name = self.queue.pop()
        self.used.add(name)
        return name

    def person(self, sex: int | None = None) -> str:
        """A first name and an invented surname; sex 0 is a woman, 1 a man, None either."""
        first_names = self.first_names[self.rng.randrange(2) if sex is None else sex]
        return f"{self.rng.choice(first_names)} {self.take()}"


def make_subjects(rng: random.Random, names: Names, topic: str, count: int) -> list[Subject]:
    """`count` different subjects of one class."""
    nouns = {"building": BUILDINGS, "bird": BIRDS, "festival": FESTIVALS, "book": BOOKS}.get(topic, [])
    chosen = rng.sample(nouns, count) if nouns else [""] * count
    subjects = []
    for noun in chosen:
        name = names.take()
        if topic == "ruler":
            title, pronoun, possessive = rng.choice([("Queen", "she", "her"), ("King", "he", "his")])
            subjects.append(Subject(f"{title} {name}", f"the {title.lower()}", pronoun, possessive))
            continue
        full, short = {
            "river": (f"the River {name}", "the river"),
            "guild": (f"the {name} Guild", "the guild"),
            "instrument": (f"the {name.lower()}", "the instrument"),
            "mineral": (f"{name.lower()}ite", "the mineral"),
            "expedition": (f"the {name} Expedition", "the expedition"),
        }.get(topic, (f"the {name} {noun}", f"the {noun.lower()}"))
        if topic == "mineral":
            names.used.add(full)
        subjects.append(Subject(full, short, "it", "its"))
    return subjects


def make_value(rng: random.Random, names: Names, value_type: str) -> tuple[str, list[str]]:
    """A value of one type, and what else an annotator might have marked inside it."""
    if value_type == "PERSON":
        person = names.person()
        return person, [person.split()[1]]
    if value_type == "UPLAND":
        place = rng.choice(UPLANDS).format(names.take())
        return place, [place.removeprefix("the ")] if place.startswith("the ") else []
    if value_type == "LENGTH":
        number = rng.randint(9, 88)
        return f"{number} metres", [str(number)]
    if value_type == "DISTANCE":
        number = rng.randint(31, 640)
        return f"{number} kilometres", [str(number)]
    if value_type == "COUNT":
        return str(rng.randint(21, 980)), []
    if value_type == "STONE":
        stone = rng.choice(STONES)
        return f"{rng.choice(STONE_WORDS)} {stone}", [stone]
    if value_type == "COLOUR":
        colour = rng.choice(COLOURS)
        return f"{rng.choice(COLOUR_WORDS)} {colour}", [colour]
    if value_type == "EMBLEM":
        emblem = f"{rng.choice(EMBLEM_WORDS)} {rng.choice(EMBLEMS)}"
        return f"a {emblem}", [emblem]
    stock = {"WOOD": WOODS, "MONTH": MONTHS, "FOOD": FOODS, "PREY": PREY, "SMALL": SMALL}[value_type]
    return rng.choice(stock), []


def subject_years(rng: random.Random, topic: str, relations: list[Relation]) -> dict[str, str]:
    """A year for every relation of type YEAR of one subject, in the order in which things happen."""
    year = rng.randint(1402, 1780)
    years: dict[str, str] = {}
    gaps = [(0, 0), *GAPS[topic]]
    for relation, gap in zip((r for r in relations if r.value_type == "YEAR"), gaps, strict=False):
        year += rng.randint(*gap)
        years[relation.name] = str(year)
    return years


def spouse(names: Names, subject: Subject) -> tuple[str, list[str]]:
    person = names.person(sex=1 if subject.pronoun == "she" else 0)
    return person, [person.split()[1]]


def pick_frame(rng: random.Random, frames: list[Frame], dev: bool) -> Frame:
    """A frame for one use: dev prefers a held-out frame with HELD_OUT_RATE, train never sees one."""
    held_out = [frame for frame in frames if frame.held_out]
    if dev and held_out and rng.random() < HELD_OUT_RATE:
        return rng.choice(held_out)
    return rng.choice([frame for frame in frames if not frame.held_out])


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def refer(rng: random.Random, subject: Subject, first: bool) -> tuple[str, str]:
    """How a sentence refers to its subject (nominative, possessive), by name at `first` mention."""
    roll = rng.random()
    if first or roll < 0.25:
        return subject.name, f"{subject.name}'s"
    if roll < 0.6:
        return subject.short, f"{subject.short}'s"
    return subject.pronoun, subject.possessive


@dataclass
class Fact:
    subject: Subject
    relation: Relation
    value: str
    variants: list[str]


def say_subject(rng: random.Random, topic: str, facts: list[Fact], dev: bool, used: Counter[FrameUse]) -> list[str]:
    """Sentences that state the facts of one subject, two facts at times joined in one sentence."""
    sentences: list[str] = []
    queue = list(facts)
    while queue:
        fact = queue.pop(0)
        joined = rng.random() < 0.45 and queue
        kinds = "v" if joined else rng.choice(["v", "f", "f"])
        frame = pick_frame(rng, [f for f in fact.relation.frames if f.kind == kinds], dev)
        used[topic, fact.relation.name, frame.kind, frame.text] += 1
        first = not sentences
        name, possessive = refer(rng, fact.subject, first)
        if frame.kind == "f" and "{s}" in frame.text and name == fact.subject.pronoun:
            name = fact.subject.short  # "painted the pictures in it" reads badly, and "of she" is wrong
        if frame.kind == "f":
            text = frame.text.format(s=name, p=possessive, a=fact.value)
        else:
            text = f"{name} {frame.text.format(a=fact.value)}"
            if joined:
                other = queue.pop(0)
                second = pick_frame(rng, [f for f in other.relation.frames if f.kind == "v"], dev)
                used[topic, other.relation.name, "v", second.text] += 1
                text += f" and {second.text.format(a=other.value)}"
        sentences.append(sentence_case(text) + ".")
    return sentences


def find_value(value: str, context: str) -> list[int]:
    """Where a value occurs as whole words; it may begin its sentence."""
    pattern = rf"(?<!\w)[{value[0]}{value[0].upper()}]{re.escape(value[1:])}(?!\w)"
    return [match.start() for match in re.finditer(pattern, context)]


def make_paragraph(
    rng: random.Random, names: Names, topic: str, title: str, dev: bool, used: Counter[FrameUse]
) -> tuple[str, list[Fact], list[tuple[Subject, Relation, Fact]]]:
    """The first draft of a fair length in which every value occurs once, so that an answer has one place."""
    while True:
        frames: Counter[FrameUse] = Counter()
        context, facts, misses = draft_paragraph(rng, names, topic, title, dev, frames)
        places = [find_value(fact.value, context) for fact in facts]
        if WORDS[0] <= len(context.split()) <= WORDS[1] and all(len(found) == 1 for found in places):
            used.update(frames)
            return context, facts, misses


def draft_paragraph(
    rng: random.Random, names: Names, topic: str, title: str, dev: bool, used: Counter[FrameUse]
) -> tuple[str, list[Fact], list[tuple[Subject, Relation, Fact]]]:
    """A context, the facts that it states, and the near misses: unstated pairs with a plausible wrong answer."""
    relations = CLASSES[topic]
    subjects = make_subjects(rng, names, topic, rng.choice([2, 2, 3]))
    pairs = [(subject, relation) for subject in subjects for relation in relations]
    wanted = rng.choice([6, 7, 7, 8])
    while True:
        stated = rng.sample(pairs, wanted)
        if all(sum(subject is s for s, _ in stated) >= 2 for subject in subjects):
            break
    taken: set[str] = set()
    facts = []
    while True:
        years = [subject_years(rng, topic, relations) for _ in subjects]
        if len({year for own in years for year in own.values()}) == sum(map(len, years)):
            break
    for subject, relation in stated:
        while True:
            if relation.value_type == "YEAR":
                value, variants = years[subjects.index(subject)][relation.name], list[str]()
            elif relation.name == "spouse":
                value, variants = spouse(names, subject)
            else:
                value, variants = make_value(rng, names, relation.value_type)
            if value not in taken and not any(variant in taken for variant in variants):
                break
        taken.update([value, *variants])
        facts.append(Fact(subject, relation, value, variants))
    groups = []
    for subject in subjects:
        own = [fact for fact in facts if fact.subject is subject]
        rng.shuffle(own)
        groups.append(say_subject(rng, topic, own, dev, used))
    if rng.random() < 0.45:
        groups.insert(0, [rng.choice(OPENERS[topic]).format(t=title)])
    if rng.random() < 0.6:
        distractor = rng.choice(DISTRACTORS)
        fillers = {
            "person": names.person() if "{person}" in distractor else "",
            "upland": make_value(rng, names, "UPLAND")[0] if "{upland}" in distractor else "",
            "year": str(rng.randint(1402, 1840)),
        }
        groups.insert(rng.randint(1, len(groups)), [distractor.format(**fillers)])
    context = " ".join(sentence for group in groups for sentence in group)

    misses = []
    for subject, relation in pairs:
        if any(subject is s and relation is r for s, r in stated):
            continue
        same = [fact for fact in facts if fact.relation is relation]
        sibling = [f for f in facts if f.relation.value_type == relation.value_type and f.relation is not relation]
        sibling = [fact for fact in sibling if fact.subject is subject] or sibling
        pools = [pool for pool in (same, sibling) if pool]
        if pools:
            misses.append((subject, relation, rng.choice(rng.choice(pools))))
    return context, facts, misses


@dataclass
class Candidate:
    """A question that a split may use: its place, its relation and, if answerable, its gold answers."""

    place: tuple[int, int]
    relation: tuple[str, str]
    subject: Subject
    frames: tuple[Frame, ...]
    fact: Fact
    impossible: bool


def thin(rng: random.Random, candidates: list[Candidate], total: int) -> list[Candidate]:
    """About `total` candidates with the same share of unanswerable ones within every relation."""
    kept: list[Candidate] = []
    by_relation: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        by_relation.setdefault(candidate.relation, []).append(candidate)
    for group in by_relation.values():
        possible = [c for c in group if not c.impossible]
        impossible = [c for c in group if c.impossible]
        rng.shuffle(possible)
        rng.shuffle(impossible)
        n = min(len(possible) / (1 - UNANSWERABLE_SHARE), len(impossible) / UNANSWERABLE_SHARE)
        n_impossible = round(n * UNANSWERABLE_SHARE)
        kept += possible[: round(n) - n_impossible] + impossible[:n_impossible]
    if len(kept) < total:
        raise ValueError(f"only {len(kept)} balanced questions for {total}")
    ratio = total / len(kept)
    final: list[Candidate] = []
    for impossible_label in (False, True):
        group = [c for c in kept if c.impossible is impossible_label]
        group.sort(key=lambda c: c.relation)
        step = round(len(group) * ratio)
        final += [group[i * len(group) // step] for i in range(step)]
    return final


def make_split(rng: random.Random, split: str, stock: list[str], articles: int, questions: int) -> Split:
    """One split: articles with three to eight paragraphs each and about `questions` questions."""
    dev = split == "dev"
    names = Names(rng, stock, FIRST_NAMES[split])
    used: Counter[FrameUse] = Counter()
    topics = list(CLASSES)
    titles, contexts = [], []
    candidates: list[Candidate] = []
    for article in range(articles):
        titles.append(names.take())
        rows = []
        chosen = rng.sample(topics, rng.randint(3, 8))
        for index, topic in enumerate(chosen):
            context, facts, misses = make_paragraph(rng, names, topic, titles[-1], dev, used)
            rows.append(context)
            options = [(fact.subject, fact.relation, fact, False) for fact in facts]
            options += [(subject, relation, fact, True) for subject, relation, fact in misses]
            for subject, relation, fact, impossible in options:
                frames = tuple(f for f in relation.frames if f.kind == "q")
                key = (topic, relation.name)
                candidates.append(Candidate((article, index), key, subject, frames, fact, impossible))
        contexts.append(rows)
    kept = thin(rng, candidates, questions)
    data = []
    for article, (title, rows) in enumerate(zip(titles, contexts, strict=True)):
        paragraphs = []
        for index, context in enumerate(rows):
            own = [c for c in kept if c.place == (article, index)]
            rng.shuffle(own)
            qas = []
            for number, candidate in enumerate(own):
                frame = pick_frame(rng, list(candidate.frames), dev)
                used[*candidate.relation, "q", frame.text] += 1
                identity = f"{split}-{article:02d}-{index}-{number:02d}"
                qas.append(make_question(candidate, frame, context, identity, dev))
            if qas:
                paragraphs.append({"context": context, "qas": qas})
        data.append({"title": title, "paragraphs": paragraphs})
    return Split({"version": "v2.0", "data": data}, names.used, used)


def make_question(candidate: Candidate, frame: Frame, context: str, identity: str, dev: bool) -> dict[str, Any]:
    """One entry of `qas`: gold answers, or for a question without an answer the plausible wrong one."""
    fact = candidate.fact
    (place,) = find_value(fact.value, context)
    answers = [{"text": context[place : place + len(fact.value)], "answer_start": place}]
    if dev and not candidate.impossible:
        for variant in fact.variants:
            start = place + fact.value.index(variant)
            answers.append({"text": context[start : start + len(variant)], "answer_start": start})
    entry: dict[str, Any] = {"id": identity, "question": sentence_case(frame.text.format(s=candidate.subject.name))}
    if candidate.impossible:
        entry["plausible_answers"] = answers
    return entry | {"answers": [] if candidate.impossible else answers, "is_impossible": candidate.impossible}


def generate() -> dict[str, Split]:
    """Both splits, from SEED alone."""
    rng = random.Random(SEED)
    stock = all_names()
    rng.shuffle(stock)
    cut = len(stock) * 2 // 3
    return {
        "train": make_split(rng, "train", stock[:cut], **TRAIN_SIZE),
        "dev": make_split(rng, "dev", stock[cut:], **DEV_SIZE),
    }


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python data/sample/generate.py OUT_DIR")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in generate().items():
        text = json.dumps(split.squad, indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_bytes(text.encode("ascii"))


if __name__ == "__main__":
    main(sys.argv[1:])
