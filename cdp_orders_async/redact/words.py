"""The words in which servers and gateways describe an error: none of them identifies a person."""

from __future__ import annotations

__all__ = ["MASK", "SERVER_NUMBERS", "SERVER_WORDS"]

MASK = "***"
"""Stands in place of each hidden text."""

SERVER_WORDS = frozenset(
    """
    a about above absent accept accepted access account action active actual added additional after again against
    all allow allowed alphanumeric already also an and another any anymore api app application are argument array
    as asc at attempt attempted attribute auth authenticate authenticated authentication author authority
    authorization authorize authorized available backend bad balancer base basic be bearer because been before
    being below between binding bit bits blank block blocked body bool boolean both bound by bytes call camel can
    cannot capital case cause change changed char character characters charset check client closed code codes
    column com combination comma complete concurrent condition configuration conflict conflicting connect
    connection constraint constraints contact contain contained contains content contract convert could count
    create created creation credential credentials currency current currently data database datetime day days
    decimal decode default defined delete deleted denied deprecated desc described deserialize deserializing detail
    details detected did different digit digits disabled does doesn domain down due duplicate duplicated each
    either element elements email emails empty enabled encoded encoding end ended endpoint entity entry enum equal
    error errors etc exactly exceed exceeded exceeds except exception exist existing exists expected expired
    expires ext extension extensions external extra fail failed fails failure false field fields file find first
    fix following for forbidden form format formatted found fraction from future gateway get given greater guest
    had has hasn have header headers host hour html http https id identifier identifiers identity if illegal
    implemented in incoming incomplete incorrect index information infrastructure input instance instead int
    integer internal into invalid io is isn iso it item items its java json kept key keys known label large last
    later least length less like limit limited line link list local locale location locked long lookup lower
    lowercase malformed many map mapped mapping match matched matches matching max maximum may media message method
    min minimum minute minutes mismatch missing model modified more most multiple must name names need needed
    negative network never new next no non none nor not null number numbers numeric object objects occurred of
    offset old on once one only operation option optional or order orders origin other out outside over overloaded
    own owner page pair pairs param parameter parameters parse parsed parsing partial past path pattern payload per
    permission permissions permitted phone please point policy position positive post present previous primitive
    problem process processed processing product property protocol provide provided proxy put quota range rate
    reach reached read reason received record reference refused region rejected remote removed repeated replaced
    request requested requests required requires reserved resource resources response restricted retries retry root
    rule rules same schema scheme second seconds security see segment send sent separated serialize server servers
    service session set should sign signature signing similar since single site sitecore sitecorecloud size slow
    some something soon sort specified start started state status still stored string strings structure submitted
    such supplied support supported syntax system table take taken target temporarily tenant text than that the
    their them then there these they this those throttled through time timed timeout times timestamp to token
    tokens too took transaction true try two type types unable unauthorized unavailable undefined under unexpected
    unhandled unicode unique unknown unlikely unparseable unprocessable unreadable unrecognised unrecognized
    unsupported until up update updated upper uppercase upstream uri url use used user using valid validate
    validated validation validator value values verify version violated violation violations was wasn way we well
    were when where which while whitespace whole whose will with within without would write written wrong www you
    your zero zone
    """.split()  # noqa: SIM905 a list would take a line for each
)
"""The words, in lower case."""

SERVER_NUMBERS = frozenset({"32", "64", "100", "128", "255", "256", "639", "1000", "3166", "4217", "8601"})
"""The numbers in such texts: limits of the API, and numbers of standards."""
