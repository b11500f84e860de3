"""ChatGPT's conversations.json."""

from __future__ import annotations

from datetime import UTC, datetime

from trainerlib.events import Attachment
from trainerlib.importers.records import BadLine, SourceConversation


def node(parent, *children, message=None):
    return {"message": message, "parent": parent, "children": list(children)}


def said(role, *parts, **more):
    return {
        "author": {"role": role},
        "create_time": 1772352000.5,
        "content": {"content_type": "text", "parts": list(parts)},
        "weight": 1.0,
        "metadata": {"model_slug": "gpt-x"},
        **more,
    }


def conversation(mapping, **more):
    return {"title": "О цветах", "mapping": mapping, "conversation_id": "c1", **more}


BRANCHES = {
    "root": node(None, "s"),
    "s": node("root", "u", message=said("system", "")),
    "u": node("s", "a", "b", message=said("user", "когда вы", "открыты?")),
    "a": node("u", message=said("assistant", "At 10.")),
    "b": node("u", message=said("assistant", "С 9.")),
}


def spoken(record):
    return [(message.id, message.role, message.text) for message in record.messages]


def test_the_branch_that_was_on_the_screen_is_read(read):
    """From the current node up to the root; an empty system message is none."""
    records = read([conversation(BRANCHES, current_node="a")])
    assert [(record.id, record.platform, record.title, record.line) for record in records] == [
        ("c1", "chatgpt", "О цветах", 2)
    ]
    assert spoken(records[0]) == [("u", "user", "когда вы\n\nоткрыты?"), ("a", "assistant", "At 10.")]
    question, answer = records[0].messages
    assert (question.model, answer.model) == ("", "gpt-x")
    assert (question.in_reply_to, answer.in_reply_to) == (None, "u")
    assert answer.sent_at == datetime(2026, 3, 1, 8, 0, 0, 500000, tzinfo=UTC)
    assert answer.weight is None


def test_without_a_current_node_the_last_leaf_is_taken(read):
    """An older export names no current node."""
    assert spoken(read([conversation(BRANCHES)])[0])[-1] == ("b", "assistant", "С 9.")


def test_what_only_the_machinery_saw_is_no_message(read):
    """Hidden messages and thoughts are passed over; a message of weight 0 keeps it."""
    mapping = {
        "h": node(None, "t", message=said("user", "profile", metadata={"is_visually_hidden_from_conversation": True})),
        "t": node("h", "u", message=said("assistant", content={"content_type": "thoughts", "thoughts": []})),
        "u": node("t", "c", message=said("user", "посчитай")),
        "c": node("u", "o", message=said("assistant", content={"content_type": "code", "text": "2 + 2"}, weight=0.0)),
        "o": node("c", message=said("tool", content={"content_type": "execution_output", "text": "4"})),
    }
    (record,) = read([conversation(mapping, current_node="o")])
    assert spoken(record) == [("u", "user", "посчитай"), ("c", "assistant", "2 + 2"), ("o", "tool", "4")]
    assert [message.weight for message in record.messages] == [None, 0, None]


def test_pictures_and_files_are_attachments(read):
    """A picture beside words is an attachment, once; an uploaded document is one too."""
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://1", "size_bytes": 7}
    files = [
        {"id": "1", "name": "роза.png", "mime_type": "image/png"},
        {"id": "2", "name": "прайс.pdf", "mime_type": "application/pdf", "size": 9},
    ]
    content = {"content_type": "multimodal_text", "parts": [picture, "что это?"]}
    message = said("user", content=content, metadata={"attachments": files})
    (record,) = read([conversation({"u": node(None, message=message)}, current_node="u")])
    assert record.messages[0].text == "что это?"
    assert record.messages[0].attachments == (
        Attachment("photo", file="file-service://1", size=7),
        Attachment("document", file="2", name="прайс.pdf", media_type="application/pdf", size=9),
    )


def test_odd_trees_end(read):
    """A circle of parents and a missing parent end the branch and are reported; an empty conversation is none."""
    circle = {"a": node("b", "b", message=said("user", "раз")), "b": node("a", "a", message=said("assistant", "два"))}
    orphan = {"x": node("gone", message=said("user", "one"))}
    records = read([conversation(circle, current_node="b"), conversation(orphan), conversation({"r": node(None)})])
    assert [spoken(record) for record in records if isinstance(record, SourceConversation)] == [
        [("a", "user", "раз"), ("b", "assistant", "два")],
        [("x", "user", "one")],
    ]
    assert [record.reason for record in records if isinstance(record, BadLine)] == [
        "the conversation breaks off above message a",
        "the conversation breaks off above message x",
    ]


def test_what_cannot_be_read_is_reported(read):
    """An unknown role and an unknown kind of content cost that message."""
    mapping = {
        "a": node(None, "b", message=said("critic", "no")),
        "b": node("a", "c", message=said("assistant", content={"content_type": "hologram"})),
        "c": node("b", message=said("assistant", "да")),
    }
    first, second, record = read([conversation(mapping)])
    assert first.reason == "message a has the unknown role 'critic', skipped"
    assert second.reason == "message b has content of the unknown type 'hologram', skipped"
    assert spoken(record) == [("c", "assistant", "да")]
