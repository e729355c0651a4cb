UPDATE "User" SET "name" = 'Olga', "updatedAt" = now() WHERE "id" = 'cku1'
UPDATE "User" SET "avatarId" = 'cka2' WHERE "id" = 'cku1'
UPDATE "User" SET "lastWorkspaceId" = 'ckw1'
INSERT INTO "Account" VALUES ('ckac1', 'cku1', 'example', '77')
INSERT INTO "Session" VALUES ('ckse1', 'token', 'cku1', now())
DELETE FROM "Session"
UPDATE "Workspace" SET "homeDocumentId" = 'ckd1' WHERE "id" = 'ckw1'
INSERT INTO "_UserToWorkspace" VALUES ('cku2', 'ckw1')
DELETE FROM "_UserToWorkspace" WHERE "A" = 'cku2' AND "B" = 'ckw1'
INSERT INTO "Space" ("id", "workspaceId", "title") VALUES ('cks2', 'ckw1', 'Ferns')
INSERT INTO "Document" ("id", "spaceId", "title") VALUES ('ckd3', 'cks2', 'Bracken')
UPDATE "Document" SET "content" = '{"text": "tall"}', "updatedAt" = now() WHERE "id" = 'ckd3'
UPDATE "Document" SET "parentId" = 'ckd1', "coverId" = 'cka1' WHERE "id" = 'ckd2'
UPDATE "Document" SET "archivedAt" = now() WHERE "id" = 'ckd2'
INSERT INTO "DocumentVersion" VALUES ('ckd1', 1, '{}', 'cku1')
INSERT INTO "Comment" ("id", "documentId", "authorId", "body") VALUES ('ckc1', 'ckd1', 'cku1', 'Which bog?')
INSERT INTO "Comment" ("id", "documentId", "replyToId", "body") VALUES ('ckc2', 'ckd1', 'ckc1', 'The north one')
DELETE FROM "Comment" WHERE "id" = 'ckc1'
INSERT INTO "_DocumentToTag" VALUES ('ckd1', 'ckt1')
DELETE FROM "_DocumentToTag"
INSERT INTO "_Watchers" VALUES ('ckd1', 'cku1')
INSERT INTO "Attachment" ("id", "key") VALUES ('cka3', 'sam.jpg')
UPDATE "Attachment" SET "workspaceId" = 'ckw1', "documentId" = 'ckd1' WHERE "id" = 'cka3'
INSERT INTO "Thumbnail" VALUES ('ckth1', 'cka2', 64)
UPDATE "Thumbnail" SET "width" = 128
INSERT INTO "Invite" ("id", "workspaceId", "email") VALUES ('cki1', 'ckw1', 'new@example.org')
UPDATE "Invite" SET "state" = 'ACCEPTED'
INSERT INTO "Reminder" VALUES ('ckr1', 'cku1', NULL, now())
UPDATE "Reminder" SET "documentId" = 'ckd1'
