"""MARC records for the tests."""


def record(*fields, leader="-----nam-a22------a-4500", controls=None):
    """A MARC 21 record of (tag, indicators, subfields as "a:text")."""
    parts = [f"<record><leader>{leader}</leader>"]
    for tag, text in (controls or {}).items():
        parts.append(f'<controlfield tag="{tag}">{text}</controlfield>')
    for tag, indicators, *subfields in fields:
        parts.append(f'<datafield tag="{tag}" ind1="{indicators[0]}" ind2="{indicators[1]}">')
        parts += [f'<subfield code="{s[0]}">{s[2:]}</subfield>' for s in subfields]
        parts.append("</datafield>")
    return "".join([*parts, "</record>"])
