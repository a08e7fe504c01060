//! The sounds that ship with the program. Written by `scripts/make-prompts.sh`.

/// Names and Opus in Ogg.
pub(super) const SOUNDS: &[(&str, &[u8])] = &[
    ("agent/in", include_bytes!("../../prompts/agent/in.opus")),
    (
        "agent/none",
        include_bytes!("../../prompts/agent/none.opus"),
    ),
    ("agent/out", include_bytes!("../../prompts/agent/out.opus")),
    ("all-busy", include_bytes!("../../prompts/all-busy.opus")),
    (
        "call/confirm",
        include_bytes!("../../prompts/call/confirm.opus"),
    ),
    ("closed", include_bytes!("../../prompts/closed.opus")),
    ("demo/echo", include_bytes!("../../prompts/demo/echo.opus")),
    ("demo/menu", include_bytes!("../../prompts/demo/menu.opus")),
    (
        "digit/hash",
        include_bytes!("../../prompts/digit/hash.opus"),
    ),
    (
        "digit/plus",
        include_bytes!("../../prompts/digit/plus.opus"),
    ),
    (
        "digit/star",
        include_bytes!("../../prompts/digit/star.opus"),
    ),
    ("goodbye", include_bytes!("../../prompts/goodbye.opus")),
    ("hello", include_bytes!("../../prompts/hello.opus")),
    (
        "mailbox/bye",
        include_bytes!("../../prompts/mailbox/bye.opus"),
    ),
    (
        "mailbox/end",
        include_bytes!("../../prompts/mailbox/end.opus"),
    ),
    (
        "mailbox/failed",
        include_bytes!("../../prompts/mailbox/failed.opus"),
    ),
    (
        "mailbox/from",
        include_bytes!("../../prompts/mailbox/from.opus"),
    ),
    (
        "mailbox/greeting-kept",
        include_bytes!("../../prompts/mailbox/greeting-kept.opus"),
    ),
    (
        "mailbox/greeting-review",
        include_bytes!("../../prompts/mailbox/greeting-review.opus"),
    ),
    (
        "mailbox/menu",
        include_bytes!("../../prompts/mailbox/menu.opus"),
    ),
    (
        "mailbox/message",
        include_bytes!("../../prompts/mailbox/message.opus"),
    ),
    (
        "mailbox/new",
        include_bytes!("../../prompts/mailbox/new.opus"),
    ),
    (
        "mailbox/none-here",
        include_bytes!("../../prompts/mailbox/none-here.opus"),
    ),
    (
        "mailbox/number",
        include_bytes!("../../prompts/mailbox/number.opus"),
    ),
    (
        "mailbox/old",
        include_bytes!("../../prompts/mailbox/old.opus"),
    ),
    (
        "mailbox/you-have",
        include_bytes!("../../prompts/mailbox/you-have.opus"),
    ),
    (
        "menu/wrong-key",
        include_bytes!("../../prompts/menu/wrong-key.opus"),
    ),
    (
        "music/default",
        include_bytes!("../../prompts/music/default.opus"),
    ),
    ("number/0", include_bytes!("../../prompts/number/0.opus")),
    ("number/1", include_bytes!("../../prompts/number/1.opus")),
    ("number/10", include_bytes!("../../prompts/number/10.opus")),
    ("number/11", include_bytes!("../../prompts/number/11.opus")),
    ("number/12", include_bytes!("../../prompts/number/12.opus")),
    ("number/13", include_bytes!("../../prompts/number/13.opus")),
    ("number/14", include_bytes!("../../prompts/number/14.opus")),
    ("number/15", include_bytes!("../../prompts/number/15.opus")),
    ("number/16", include_bytes!("../../prompts/number/16.opus")),
    ("number/17", include_bytes!("../../prompts/number/17.opus")),
    ("number/18", include_bytes!("../../prompts/number/18.opus")),
    ("number/19", include_bytes!("../../prompts/number/19.opus")),
    ("number/2", include_bytes!("../../prompts/number/2.opus")),
    ("number/20", include_bytes!("../../prompts/number/20.opus")),
    ("number/3", include_bytes!("../../prompts/number/3.opus")),
    ("number/30", include_bytes!("../../prompts/number/30.opus")),
    ("number/4", include_bytes!("../../prompts/number/4.opus")),
    ("number/40", include_bytes!("../../prompts/number/40.opus")),
    ("number/5", include_bytes!("../../prompts/number/5.opus")),
    ("number/50", include_bytes!("../../prompts/number/50.opus")),
    ("number/6", include_bytes!("../../prompts/number/6.opus")),
    ("number/60", include_bytes!("../../prompts/number/60.opus")),
    ("number/7", include_bytes!("../../prompts/number/7.opus")),
    ("number/70", include_bytes!("../../prompts/number/70.opus")),
    ("number/8", include_bytes!("../../prompts/number/8.opus")),
    ("number/80", include_bytes!("../../prompts/number/80.opus")),
    ("number/9", include_bytes!("../../prompts/number/9.opus")),
    ("number/90", include_bytes!("../../prompts/number/90.opus")),
    (
        "number/hundred",
        include_bytes!("../../prompts/number/hundred.opus"),
    ),
    (
        "number/million",
        include_bytes!("../../prompts/number/million.opus"),
    ),
    (
        "number/thousand",
        include_bytes!("../../prompts/number/thousand.opus"),
    ),
    ("park/full", include_bytes!("../../prompts/park/full.opus")),
    (
        "park/nothing",
        include_bytes!("../../prompts/park/nothing.opus"),
    ),
    ("park/slot", include_bytes!("../../prompts/park/slot.opus")),
    (
        "pickup/nothing",
        include_bytes!("../../prompts/pickup/nothing.opus"),
    ),
    ("pin/enter", include_bytes!("../../prompts/pin/enter.opus")),
    ("pin/wrong", include_bytes!("../../prompts/pin/wrong.opus")),
    (
        "queue/next",
        include_bytes!("../../prompts/queue/next.opus"),
    ),
    (
        "queue/position",
        include_bytes!("../../prompts/queue/position.opus"),
    ),
    (
        "room/alone",
        include_bytes!("../../prompts/room/alone.opus"),
    ),
    ("room/full", include_bytes!("../../prompts/room/full.opus")),
    (
        "room/joined",
        include_bytes!("../../prompts/room/joined.opus"),
    ),
    ("room/left", include_bytes!("../../prompts/room/left.opus")),
    (
        "room/muted",
        include_bytes!("../../prompts/room/muted.opus"),
    ),
    (
        "room/unmuted",
        include_bytes!("../../prompts/room/unmuted.opus"),
    ),
    ("sorry", include_bytes!("../../prompts/sorry.opus")),
    (
        "transfer/number",
        include_bytes!("../../prompts/transfer/number.opus"),
    ),
    (
        "transfer/wrong",
        include_bytes!("../../prompts/transfer/wrong.opus"),
    ),
    (
        "voicemail/extension",
        include_bytes!("../../prompts/voicemail/extension.opus"),
    ),
    (
        "voicemail/failed",
        include_bytes!("../../prompts/voicemail/failed.opus"),
    ),
    (
        "voicemail/review",
        include_bytes!("../../prompts/voicemail/review.opus"),
    ),
    (
        "voicemail/saved",
        include_bytes!("../../prompts/voicemail/saved.opus"),
    ),
    (
        "voicemail/too-short",
        include_bytes!("../../prompts/voicemail/too-short.opus"),
    ),
    (
        "voicemail/unavailable",
        include_bytes!("../../prompts/voicemail/unavailable.opus"),
    ),
    ("welcome", include_bytes!("../../prompts/welcome.opus")),
];
